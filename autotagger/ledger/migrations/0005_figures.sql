-- What SQLite's planner is to think of a ledger, however small it still is (sqlite.org/lang_analyze.html allows to
-- write these figures by hand). Left alone it takes ten assets for one state, and looked for a hundred known
-- assets among all that are pending: what a picture costs grew with the library.
ANALYZE account;
DELETE FROM sqlite_stat1;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('asset', 'sqlite_autoindex_asset_1', '1000000 1'),
    ('asset', 'asset_by_state', '1000000 100000 50000'),
    ('asset', 'asset_by_collection', '1000000 300000 100000'),
    ('asset', 'asset_by_checksum', '1000000 2'),
    ('asset', 'asset_in_trouble', '10000 1000 1000');
ANALYZE sqlite_schema;
