"""The main process: it starts the others, watches them, and says which asset is next.

Read in this order: `supervisor` (the loop), `entry_points` and `processes` (the children), `dispatcher` (which
asset starts and which worker gets it), `work_queue` (what comes next), `in_flight` (the jobs under way),
`schedule` (when to list and when to stay idle), `shutdown` (how a run ends), `summary` and `status` (the run in
numbers).
"""
