-- Whether the last listing that tells found an asset to be in the selection; what leaves it keeps its tags.
ALTER TABLE asset ADD COLUMN selected INTEGER NOT NULL DEFAULT 1;
CREATE INDEX asset_left ON asset (account, state) WHERE selected = 0;
-- By which selection that was found, NULL before there were any; and how many assets of the library the last sweep
-- left out, NULL where nobody can say, or where all of them are in this ledger.
ALTER TABLE account ADD COLUMN selection TEXT;
ALTER TABLE account ADD COLUMN left_out INTEGER;
