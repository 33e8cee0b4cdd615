"""The ledger: what we know and did of every asset, in one SQLite file that only the writer process writes.

To be read in this order: `states` (what can become of an asset, a tag, a library; the one table of transitions),
`schema` (the tables) and `rows` (what goes in and comes out), `database` (the file: lock, pragmas, migrations,
damage), `base` (reading and writing; the one `_move`). Then by noun, each with its reading and its writing side:
`accounts`, `assets`, `scores`, `links`, `calls`, `runs`, `reports`; `reader` and `writer` put them together.
`care` looks after the file.
"""
