//! A simulator of the dashboard, with faults.
