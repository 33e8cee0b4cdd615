"""A model in INT8: converted by NNCF, and used only if its tags are good enough.

Read in this order: `run` (from beginning to end), `sample` (the user's pictures), `convert` (the conversion),
`nncf_job` (the part of it that runs in an environment of its own) and `gate` (the decision).
"""
