//! The PostgreSQL connector: logical replication, snapshots, checks.
