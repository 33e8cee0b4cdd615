"""The only process that writes the ledger and changes Immich.

Read in this order: `writer` (the process), `account_worker` and `account_context` (the work for one account),
`applier` (scores to tags, one call per asset), `verifier` (reading back and repair), `reconcile` (ledger
against Immich, a pure function), `retry_policy` (what happens after a failure) and `throttle` (how Immich is
spared). `tag_ids` and `existing_tags` know the tags, `deletions` handles assets that vanished, `rating_actions`
moves pictures by rating, and `operations` does retag, undo and verify.
"""
