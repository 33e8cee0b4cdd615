-- When another autotagger was last seen to set an account's marker (our clock): its changes are no person's.
ALTER TABLE account ADD COLUMN contested_ms INTEGER;
