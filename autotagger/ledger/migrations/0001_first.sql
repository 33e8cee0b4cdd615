-- Small integers stand for everything that repeats, so that an asset with 30 tags stays under 1 KB.

-- What belongs to one owner in one Immich library (library_id NULL: uploads). Tags either stick in all of
-- it or in nothing of it (a read-only mount, a partner's pictures), which its canary asset tells.
CREATE TABLE collection (
    id INTEGER PRIMARY KEY,
    owner_id TEXT NOT NULL,
    library_id TEXT NOT NULL,              -- '' for uploads
    state TEXT NOT NULL DEFAULT 'untried', -- untried, probing, open, closed
    canary INTEGER,                        -- asset.key
    reason TEXT,
    decided_ms INTEGER,
    UNIQUE (owner_id, library_id)
);

CREATE TABLE asset (
    key INTEGER PRIMARY KEY,
    asset_id BLOB NOT NULL UNIQUE,         -- the UUID's 16 bytes
    collection INTEGER NOT NULL REFERENCES collection (id),
    kind TEXT NOT NULL,                    -- IMAGE, VIDEO
    mime TEXT,
    file_name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    state TEXT NOT NULL,
    updated_ms INTEGER NOT NULL,           -- Immich's updatedAt before our tag call
    answered_ms INTEGER,                   -- Immich's clock when it answered the tag call
    due_ms INTEGER,                        -- our clock: when to look at it again; NULL: never by itself
    attempts INTEGER NOT NULL DEFAULT 0,
    repairs INTEGER NOT NULL DEFAULT 0,
    suspect INTEGER NOT NULL DEFAULT 0,    -- read back in full before it counts as verified
    error_kind TEXT,
    error TEXT
);
CREATE INDEX asset_by_state ON asset (state, due_ms);
CREATE INDEX asset_by_collection ON asset (collection, state);

CREATE TABLE model (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    labels BLOB NOT NULL                   -- zlib of the JSON list [[name, category], ...]
);

CREATE TABLE score (
    asset INTEGER PRIMARY KEY REFERENCES asset (key) ON DELETE CASCADE,
    model INTEGER NOT NULL REFERENCES model (id),
    packed BLOB NOT NULL
);

CREATE TABLE policy (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL                 -- JSON, as a person configured it
);

CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    version TEXT NOT NULL,
    summary TEXT                           -- JSON
);

CREATE TABLE origin (
    id INTEGER PRIMARY KEY,
    model INTEGER NOT NULL REFERENCES model (id),
    policy INTEGER NOT NULL REFERENCES policy (id),
    run INTEGER NOT NULL REFERENCES run (id),
    UNIQUE (model, policy, run)
);

CREATE TABLE tag (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE link (
    asset INTEGER NOT NULL REFERENCES asset (key) ON DELETE CASCADE,
    tag INTEGER NOT NULL REFERENCES tag (id),
    origin INTEGER NOT NULL REFERENCES origin (id),
    PRIMARY KEY (asset, tag)
) WITHOUT ROWID;
