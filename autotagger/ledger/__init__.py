"""The ledger: what we know and did of every asset, in one SQLite file that only the writer process writes."""
