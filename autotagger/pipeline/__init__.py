"""A run and its processes, a folder for each.

Read in this order: `run` (the entry), `ipc` (how processes talk), `child` (what all children have in common),
`supervisor` (starts and watches the others, and says which asset is next), `fetcher` (lists and downloads),
`inferencer` (decodes and scores), `writer` (writes the ledger and changes Immich), `operations` (plan, retag,
retry, rebuild) and `control` (how commands reach a run). `accounts`, `clients` and `decider` are used by
several of them.
"""
