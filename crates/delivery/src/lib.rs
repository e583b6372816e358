//! What one POST to the dashboard and its answer mean.
