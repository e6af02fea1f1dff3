-- Who may write the journal. Taking the lease raises its epoch; a commit that names an older one changes nothing.
CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    holder TEXT NOT NULL
);
INSERT INTO lease (name, epoch, holder) VALUES ('engine', 0, 'nobody');
