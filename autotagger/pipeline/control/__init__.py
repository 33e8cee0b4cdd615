"""How commands reach a running service, through files in its state folder.

Read in this order: `mailbox` (requests) and `pause` (the pause switch).
"""
