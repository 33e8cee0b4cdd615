"""How the processes talk: small messages over sockets, pictures through shared memory.

Read in this order: `messages` (what is said), `channel` (how it gets across), `slots` (places in shared
memory), `payload` (what lies in one) and `stats` (how a child reports counts and times).
"""
