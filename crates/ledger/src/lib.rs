//! What survives power loss: status changes, last known statuses, position, deliveries, quarantine, backfill.
