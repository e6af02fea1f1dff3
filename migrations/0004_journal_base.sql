-- Where the journal begins after its oldest entries were taken out: the last of them, and the chain's hash after it. No row: it begins with entry 1.
CREATE TABLE journal_base (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL
);
