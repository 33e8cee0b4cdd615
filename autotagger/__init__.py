"""autotagger: anime tags for an Immich library.

Read in this order: `cli` (the commands), `settings` and `config` (what can be set, and from where), `errors`
(what can go wrong), `pipeline` (a run: its processes and what they do), then the parts that a run puts together
and that do not know each other: `immich` (the server's API), `tagger` (pictures to scores), `policy` (scores to
tags) and `ledger` (what was done). `service` shows a run to its surroundings, `doctor` finds problems,
`quantize` and `bench` measure models, and `demo` is a stand-in for Immich.
"""

__version__ = "0.1.0"
