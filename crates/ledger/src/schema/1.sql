-- The ledger, version 1. Times are microseconds since the Unix epoch, UTC.

-- Single values: the position, the server, counters, notes.
CREATE TABLE meta(
    key   TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

-- The log: only ever appended by rising seq. Rows above committed_seq belong to a transaction whose
-- commit has not been read yet. Rows up to settled_seq are status changes.
CREATE TABLE change(
    seq          INTEGER PRIMARY KEY,
    kind         INTEGER NOT NULL, -- 0 record, 1 candidate, 2 deletion, 3 broken, 4 row mapped again, 5 record sent again
    service_id   TEXT,
    request_id   TEXT,
    status_id    INTEGER,
    opening_at   INTEGER,
    modified_at  INTEGER,
    row_key      TEXT,
    old_row_key  TEXT,
    position     TEXT,
    committed_at INTEGER NOT NULL,
    captured_at  INTEGER NOT NULL,
    origin       INTEGER NOT NULL, -- 0 stream, 1 repair, 2 retry
    batch_id     INTEGER NOT NULL DEFAULT 0
);

-- Places in the log where rows of a copy are merged. The seqs after one belong to what the merge finds.
CREATE TABLE marker(
    seq       INTEGER PRIMARY KEY,
    copy_id   INTEGER NOT NULL,
    merged_id INTEGER NOT NULL,    -- staged rows up to here have been merged
    last_id   INTEGER NOT NULL,    -- the last staged row that belongs to it
    reserved  INTEGER NOT NULL,    -- seqs after this one
    emitted   INTEGER NOT NULL,    -- those of them that were used
    position  TEXT,                -- of the log, when the rows were read
    at        INTEGER NOT NULL
);

-- The last known status of every request, as of settled_seq.
CREATE TABLE known(
    service_id   TEXT NOT NULL,
    request_id   TEXT NOT NULL,
    status_id    INTEGER NOT NULL, -- 0: unknown, because a row was rejected
    opening_at   INTEGER,
    modified_at  INTEGER,
    touched_seq  INTEGER NOT NULL, -- the last log row about it, as far as a copy under way needs to know
    emitted_seq  INTEGER NOT NULL, -- the last log row about it that is a status change; 0: none yet
    retried      INTEGER NOT NULL, -- the status of the last log row, when that was a row mapped again; else 0
    copy_id      INTEGER NOT NULL, -- the copy whose row for the backfill carries it; 0: none
    month        INTEGER NOT NULL, -- and that row's month
    PRIMARY KEY(service_id, request_id)
) WITHOUT ROWID;

-- Which request a row of the source belongs to, where deletes are reported: a deleted row is only its key.
CREATE TABLE row_owner(
    row_key    TEXT PRIMARY KEY,
    service_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    opening_at INTEGER,
    seq        INTEGER NOT NULL
) WITHOUT ROWID;

-- Copies of the table.
CREATE TABLE copy(
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       INTEGER NOT NULL, -- 0 baseline, 1 repair, 2 again
    exact      INTEGER NOT NULL,
    state      INTEGER NOT NULL, -- 0 being read, 1 read, 2 merged, 3 abandoned
    gap_id     INTEGER,
    began_seq  INTEGER NOT NULL,
    began_at   INTEGER NOT NULL,
    cursor     TEXT,
    scanned    INTEGER NOT NULL DEFAULT 0,
    staged     INTEGER NOT NULL DEFAULT 0,
    rejected   INTEGER NOT NULL DEFAULT 0,
    first_id   INTEGER NOT NULL,
    last_id    INTEGER NOT NULL
);

-- Pages that wait until the stream has passed their fences.
CREATE TABLE page(
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    copy_id  INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id  INTEGER NOT NULL,
    fence    TEXT,
    at       INTEGER NOT NULL
);

-- Rows of copies until they are merged, many packed into one: see staged.rs.
CREATE TABLE staged_block(
    last_id  INTEGER PRIMARY KEY, -- of its last row
    first_id INTEGER NOT NULL,
    rows     BLOB NOT NULL
);

-- Merged rows of copies, in the order in which the backfill sends them.
CREATE TABLE backfill_row(
    copy_id     INTEGER NOT NULL,
    month       INTEGER NOT NULL,
    service_id  TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    status_id   INTEGER NOT NULL,
    opening_at  INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    state       INTEGER NOT NULL,  -- 0 waiting, 1 in a batch, 2 skipped
    batch_id    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(copy_id, month, service_id, request_id)
) WITHOUT ROWID;

-- The backfill that was asked for, by month.
CREATE TABLE backfill_month(
    month        INTEGER PRIMARY KEY,
    waiting      INTEGER NOT NULL,
    sending      INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,
    skipped      INTEGER NOT NULL,
    refused      INTEGER NOT NULL
);

CREATE TABLE gap(
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    from_at     INTEGER,
    to_at       INTEGER,
    found_at    INTEGER NOT NULL,
    repaired_at INTEGER,
    reason      TEXT NOT NULL,
    records     INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE flush(
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    kind           INTEGER NOT NULL, -- 0 delta, 1 backfill
    by_service     INTEGER NOT NULL,
    upto_seq       INTEGER NOT NULL,
    cursor_month   INTEGER NOT NULL DEFAULT 0,
    cursor_service TEXT NOT NULL DEFAULT '',
    cursor_request TEXT NOT NULL DEFAULT '',
    cursor_seq     INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    finished_at    INTEGER,
    result         INTEGER,          -- 0 acknowledged, 1 partial, 2 failed, 3 halted
    records        INTEGER NOT NULL DEFAULT 0,
    batches        INTEGER NOT NULL DEFAULT 0,
    refused        INTEGER NOT NULL DEFAULT 0,
    attempts       INTEGER NOT NULL DEFAULT 0,
    last_error     TEXT
);

-- The sealed delta in the order of services, while a flush by service is under way.
CREATE TABLE sealed_order(
    service_id TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    PRIMARY KEY(service_id, seq)
) WITHOUT ROWID;

CREATE TABLE batch(
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    flush_id        INTEGER NOT NULL,
    place           TEXT NOT NULL,   -- sorts batches in the order in which they leave; halves follow their whole
    state           INTEGER NOT NULL, -- 0 pending, 1 acknowledged, 2 refused, 3 split, 4 suspect
    service_id      TEXT,
    records         INTEGER NOT NULL,
    changes         INTEGER NOT NULL, -- those of the records that come from the log
    months          TEXT NOT NULL,    -- the others, by month
    items           BLOB,            -- which records, in the order of the body; only while undecided
    body            BLOB,            -- only while undecided
    sha256          BLOB NOT NULL,
    oldest_at       INTEGER,
    created_at      INTEGER NOT NULL,
    first_sent_at   INTEGER,         -- a batch leaves as soon as it is made, so this is when it was made
    acknowledged_at INTEGER,
    attempts        INTEGER NOT NULL DEFAULT 0,
    http_status     INTEGER,
    code            TEXT,
    last_error      TEXT
);
CREATE INDEX batch_undecided ON batch(place) WHERE state IN (0, 4);

CREATE TABLE quarantine(
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        INTEGER NOT NULL, -- 0 row, 1 record
    state       INTEGER NOT NULL, -- 0 in quarantine, 1 of an open transaction, 2 tried again, 3 discarded
    origin      INTEGER NOT NULL, -- 0 stream, 1 snapshot
    copy_id     INTEGER,
    service_id  TEXT,
    request_id  TEXT,
    status_id   INTEGER,
    opening_at  INTEGER,
    modified_at INTEGER,
    code        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    row         TEXT,
    position    TEXT,
    batch_id    INTEGER,
    at          INTEGER NOT NULL,
    resolved_at INTEGER
);
CREATE INDEX quarantine_standing ON quarantine(kind, id) WHERE state = 0;
CREATE INDEX quarantine_of_copy ON quarantine(copy_id) WHERE state = 0;
CREATE INDEX quarantine_open ON quarantine(id) WHERE state = 1;
CREATE INDEX quarantine_of_batch ON quarantine(batch_id) WHERE batch_id IS NOT NULL;
