//! What a row change means: mapping, status catalogue, status changes, rejections. Pure.

mod catalogue;
mod status_change;

pub use catalogue::{Category, Status, all, status};
pub use status_change::{RequestKey, StatusChange};
