//! What a row change means: mapping, status catalogue, status changes, rejections. Pure.
