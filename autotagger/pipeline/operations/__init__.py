"""What commands other than `run` do with the ledger and Immich.

Read in this order: `plan` (what would change), `retag`, `retry` (both hand their work to a running service) and
`rebuild` (a new ledger from Immich).
"""
