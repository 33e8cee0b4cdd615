"""Which assets are ours to tag.

Read in this order: `globs` (patterns of paths and names), `rules` (the predicate), `names` (from the names of
[select] to ids) and `searches` (which searches find the candidates). Nothing here knows Immich's API.
"""
