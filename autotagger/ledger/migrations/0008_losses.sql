-- What left many assets at once by somebody else's hand: tags that were deleted as a whole (links in state 8, see
-- LinkState), and the marker of assets that are verified (suspect: see `losses`).

-- Immich's own id of a tag: another one says that the tag was deleted and made anew.
ALTER TABLE known_tag ADD COLUMN immich_id TEXT;

CREATE INDEX asset_suspect ON asset (suspect, state) WHERE suspect > 0;
