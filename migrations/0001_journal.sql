-- What trimtab did and why. SQLite and PostgreSQL run this same text: BIGINT and BYTEA are stored as they are by both.
-- Append-only; each row's hash covers the row and the hash before it.
CREATE TABLE journal (
    seq BIGINT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    loop TEXT, -- NULL: about no loop
    body BYTEA NOT NULL,
    hash BYTEA NOT NULL
);
CREATE INDEX journal_of_loop ON journal (loop, seq) WHERE loop IS NOT NULL;

-- The chain's end, so that rows cut off the end are missed.
CREATE TABLE journal_head (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL
);

-- The engine's saved state as of journal entry seq.
CREATE TABLE engine_state (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    body BYTEA NOT NULL
);
