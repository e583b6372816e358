//! The bitacora binary: configuration, wiring, commands, status page, metrics.
