//! The loops of the product: stream, flush, backfill, repair, schedule, health.
