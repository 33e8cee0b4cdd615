"""Immich over its HTTP API: typed calls that never lose a failure, in the three dialects 2.7, 3.0 and 3.2.

Read in this order: `address` (where the API is), `transport` (one bounded exchange), `status` (what a status
means), `parsing` (JSON into `types`), `pacing` (how many at once), `client` (the calls, tried again as long as
it makes sense), `dialect` (what this server speaks, and the checks before a run), `sweep` (a whole library,
listed).
"""
