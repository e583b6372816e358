//! The language's data: types, values, and how one becomes another.

pub(crate) mod calendar;
pub(crate) mod convert;
pub(crate) mod datatype;
pub(crate) mod decimal;
pub(crate) mod error;
pub(crate) mod format;
pub(crate) mod stored;
pub(crate) mod value;
