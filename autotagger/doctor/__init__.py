"""What `autotagger doctor` looks at. Looking and judging are apart.

Looking (`server`, `machine`, `model`, `ledger`, `speed`) talks to Immich, opens files and measures, changes
nothing, and ends in plain facts. Judging (`*_checks`) is one small pure function a check, from the facts to a
result with the exact fix. `examine` does both in order; `registry` lists every check.
"""
