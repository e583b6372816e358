//! The whole product shown on one machine with nothing to configure.
