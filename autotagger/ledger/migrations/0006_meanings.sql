-- What tags mean: the labels that they stood for, so that a tag taken off by a person stays off under another name.
CREATE TABLE tag_meaning (
    tag INTEGER NOT NULL REFERENCES tag (id),
    meaning TEXT NOT NULL,
    PRIMARY KEY (tag, meaning)
) WITHOUT ROWID;
