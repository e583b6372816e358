-- Version 2: captured rows are packed; tables of which each row is a status change.

-- Captured rows of the log until they are settled, many packed into one: see captured_block.rs.
CREATE TABLE captured_block(
    last_seq  INTEGER PRIMARY KEY, -- of its last row
    first_seq INTEGER NOT NULL,
    rows      BLOB NOT NULL
);

-- What was last told of a row, and by which copy; 0 for the stream.
ALTER TABLE row_owner ADD COLUMN status_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE row_owner ADD COLUMN modified_at INTEGER;
ALTER TABLE row_owner ADD COLUMN copy_id INTEGER NOT NULL DEFAULT 0;
-- 1: an update told of the row while a copy that has yet to bring it was under way.
ALTER TABLE row_owner ADD COLUMN is_held INTEGER NOT NULL DEFAULT 0;

ALTER TABLE quarantine ADD COLUMN row_key TEXT;

-- Of one request there may be many rows: `place` sorts them, and is empty where there is only one.
CREATE TABLE backfill_row_2(
    copy_id     INTEGER NOT NULL,
    month       INTEGER NOT NULL,
    service_id  TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    place       TEXT NOT NULL DEFAULT '',
    status_id   INTEGER NOT NULL,
    opening_at  INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    state       INTEGER NOT NULL,  -- 0 waiting, 1 in a batch, 2 skipped
    batch_id    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(copy_id, month, service_id, request_id, place)
) WITHOUT ROWID;
INSERT INTO backfill_row_2(copy_id, month, service_id, request_id, status_id, opening_at, modified_at, state, batch_id)
    SELECT copy_id, month, service_id, request_id, status_id, opening_at, modified_at, state, batch_id FROM backfill_row;
DROP TABLE backfill_row;
ALTER TABLE backfill_row_2 RENAME TO backfill_row;
