//! Throw-away real database servers for demo, tests and benchmarks.
