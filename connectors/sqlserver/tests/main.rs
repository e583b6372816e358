//! Tests against the stand-in.
