-- Who put a link there and what became of it; accounts; what tells that a picture has changed; a history.

CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    user_id TEXT                           -- NULL: the key may not read it
);
INSERT INTO account (id, name) VALUES (1, 'default');

ALTER TABLE collection ADD COLUMN account INTEGER NOT NULL DEFAULT 1;

ALTER TABLE asset ADD COLUMN account INTEGER NOT NULL DEFAULT 1;
ALTER TABLE asset ADD COLUMN thumbhash TEXT;
ALTER TABLE asset ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;   -- the last sweep that listed it
ALTER TABLE asset ADD COLUMN origin INTEGER;                    -- what decided last which tags it should have
ALTER TABLE asset ADD COLUMN removal INTEGER;                   -- tag.id: the planned call takes this one off
CREATE INDEX asset_by_checksum ON asset (checksum);

-- state: see LinkState. What was sent by the first schema is proven as soon as its asset is verified.
CREATE TABLE link_anew (
    asset INTEGER NOT NULL REFERENCES asset (key) ON DELETE CASCADE,
    tag INTEGER NOT NULL REFERENCES tag (id),
    state INTEGER NOT NULL,
    origin INTEGER REFERENCES origin (id), -- NULL: not put there by us
    PRIMARY KEY (asset, tag)
) WITHOUT ROWID;
INSERT INTO link_anew (asset, tag, state, origin) SELECT asset, tag, 0, origin FROM link;
UPDATE asset SET origin = (SELECT MAX(origin) FROM link WHERE link.asset = asset.key);
DROP TABLE link;
ALTER TABLE link_anew RENAME TO link;
CREATE INDEX link_unusual ON link (state, asset) WHERE state NOT IN (0, 1);

-- What we know of a tag in an account's Immich. Assets with a key up to `listed` had their links looked up
-- before the tag was first used (-1: always look); `ours`: it was not there before us.
CREATE TABLE known_tag (
    account INTEGER NOT NULL,
    tag INTEGER NOT NULL REFERENCES tag (id),
    listed INTEGER NOT NULL,
    ours INTEGER NOT NULL,
    PRIMARY KEY (account, tag)
) WITHOUT ROWID;
INSERT INTO known_tag (account, tag, listed, ours)
    SELECT 1, id, (SELECT COALESCE(MAX(key), 0) FROM asset), 0 FROM tag;

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    asset INTEGER NOT NULL REFERENCES asset (key) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    run INTEGER,
    what TEXT NOT NULL,
    note TEXT
);
CREATE INDEX event_by_asset ON event (asset);
