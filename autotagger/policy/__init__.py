"""From the scores of a picture to the names of its tags, and from those to as few calls as possible.

Read in this order: `rules` (the rules, numbered), `thresholds`, `patterns`, `relations` and `naming` (what they
are made of), `names` (names that survive Immich), `decision` and `explain` (why a tag is there), `vocabulary`
(how many different tags there may be), `batching` (names to calls) and `stats` (a policy over a whole library).
"""
