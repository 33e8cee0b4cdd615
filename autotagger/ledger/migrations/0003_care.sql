-- A history that costs some 20 bytes a line: no row numbers, no second tree, small numbers for what happened.
-- Nothing wrote to the table before.
DROP TABLE event;
CREATE TABLE event (
    asset INTEGER NOT NULL REFERENCES asset (key) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    what INTEGER NOT NULL,                 -- see What; orders what happened within a millisecond
    run INTEGER,
    note TEXT,
    PRIMARY KEY (asset, at_ms, what)
) WITHOUT ROWID;

-- `status` counts troubles by class without a look at the assets.
CREATE INDEX asset_in_trouble ON asset (error_kind, state) WHERE error_kind IS NOT NULL;
