"""What all child processes have in common.

Read in this order: `spec` (what a child is told at its start), `base` (its life: heartbeat, logs, end),
`event_loop` (a child that runs asyncio) and `priority` (how it gives way to other programs).
"""
