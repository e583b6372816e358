-- Version 3: several tables, and rows that are joined to their parents.

-- The tables that were ever configured. The name of the one that an older ledger holds is not known until it is told.
CREATE TABLE source_table(
    id         INTEGER PRIMARY KEY,
    name       TEXT UNIQUE,
    is_history INTEGER NOT NULL,             -- whether each of its rows is a status change
    is_copied  INTEGER NOT NULL DEFAULT 0,   -- whether a copy of it is complete, or under way
    scanned    INTEGER NOT NULL DEFAULT 0    -- rows of it that the last copy has read
);
INSERT INTO source_table(id, name, is_history, is_copied)
    SELECT 1, NULL, coalesce((SELECT value FROM meta WHERE key = 'history'), 0), 1
    WHERE EXISTS(SELECT 1 FROM copy) OR EXISTS(SELECT 1 FROM change) OR EXISTS(SELECT 1 FROM captured_block);
DELETE FROM meta WHERE key = 'history';

-- Which columns rows that are not joined yet were captured with.
CREATE TABLE shape(
    id       INTEGER PRIMARY KEY,
    table_id INTEGER NOT NULL,
    columns  TEXT NOT NULL,                  -- a JSON list
    UNIQUE(table_id, columns)
);

-- What is known of parents: by which columns they are found, and which of theirs are joined.
CREATE TABLE mirror(
    id          INTEGER PRIMARY KEY,
    table_id    INTEGER NOT NULL,
    key_columns TEXT NOT NULL,
    columns     TEXT NOT NULL,
    emptied_seq INTEGER NOT NULL DEFAULT 0,  -- the log row with which all parents went at once: those told before are gone
    UNIQUE(table_id, key_columns)
);
CREATE TABLE parent(
    mirror_id INTEGER NOT NULL,
    key       TEXT NOT NULL,
    cells     BLOB NOT NULL,
    seq       INTEGER NOT NULL,              -- the last log row that altered it
    copy_id   INTEGER NOT NULL,              -- the last copy that brought it; 0: none
    is_gone   INTEGER NOT NULL,              -- deleted: only rows that are deleted too still find it
    PRIMARY KEY(mirror_id, key)
) WITHOUT ROWID;
-- The key of a parent by the key of its row, where these differ: a deleted row tells only the latter.
CREATE TABLE parent_key(
    mirror_id INTEGER NOT NULL,
    row_key   TEXT NOT NULL,
    key       TEXT NOT NULL,
    PRIMARY KEY(mirror_id, row_key)
) WITHOUT ROWID;

-- Captured rows whose parent has not come yet.
CREATE TABLE waiting_child(
    seq       INTEGER PRIMARY KEY,
    mirror_id INTEGER NOT NULL,
    key       TEXT NOT NULL,
    flushes   INTEGER NOT NULL DEFAULT 0,    -- that began while it waited
    table_id  INTEGER NOT NULL,              -- its own
    row       BLOB NOT NULL
);
CREATE INDEX waiting_child_of ON waiting_child(mirror_id, key);
-- Log rows before settled_seq that came out of waiting and are not settled.
CREATE TABLE released(seq INTEGER PRIMARY KEY);

-- The table that last told of the request.
ALTER TABLE known ADD COLUMN table_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE change ADD COLUMN table_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE quarantine ADD COLUMN table_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE backfill_row ADD COLUMN table_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE page ADD COLUMN table_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE marker ADD COLUMN table_id INTEGER NOT NULL DEFAULT 1;
-- Whether the rows of a block are not joined yet.
ALTER TABLE staged_block ADD COLUMN is_unjoined INTEGER NOT NULL DEFAULT 0;
-- The tables that it reads, as a JSON list; NULL in copies of older ledgers, which held one table.
ALTER TABLE copy ADD COLUMN tables TEXT;
-- Those of them that no copy had read to its end before; NULL for none.
ALTER TABLE copy ADD COLUMN first_tables TEXT;
-- The table that the cursor belongs to; NULL: the first of them.
ALTER TABLE copy ADD COLUMN cursor_table INTEGER;
