"""The checks of `autotagger doctor`. Collecting facts and judging them are separate.

Read in this order: `facts` (what can be known), `server`, `machine`, `model`, `rules`, `ledger` and `speed` (which
collect facts and change nothing), `check_result` (what a check says), `settings_checks`, `server_checks`,
`account_checks`, `work_checks` and `machine_checks` (one small pure function per check, from the facts to a result
with the exact fix), `registry` (the list of checks) and `examine` (all of it in order). `proposal` chooses a model
for `autotagger init`.
"""
