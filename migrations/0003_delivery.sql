-- Webhook bodies as they came, kept until the tick that took them is in the journal.
CREATE TABLE delivery (
    id BIGINT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    dedup BYTEA, -- SHA-256 of the sender's key; NULL: it gave none
    at_ms BIGINT NOT NULL,
    done BIGINT NOT NULL,
    body BYTEA NOT NULL
);
CREATE UNIQUE INDEX delivery_dedup ON delivery (source, dedup);
CREATE INDEX delivery_pending ON delivery (id) WHERE done = 0;

-- Numbers that never come twice, also after rows are gone.
CREATE TABLE counter (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('delivery', 0);
