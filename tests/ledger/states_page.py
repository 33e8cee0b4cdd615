"""Draws docs/states.md from the table of transitions: `python -m tests.ledger.states_page > docs/states.md`."""

from autotagger.ledger.states import LIFE, State

_HEAD = """# The states of an asset

What the ledger knows of an asset is a state, which `autotagger status` counts. This page is drawn from the table
`LIFE` in `autotagger/ledger/states.py`: no statement of the program can take an asset any other way.

The way of a picture is pending, scored, planned, applied, verified. A new asset begins as pending, or as waiting
where Immich is not done with the upload. Whatever happens at any instant, the next run goes on from the state that
is written down.

| from | to | when |
|---|---|---|
"""


def page() -> str:
    """The page, one line for each line of the table."""
    return _HEAD + "".join(f"| {_names(line.before)} | {line.after} | {line.when} |\n" for line in LIFE)


def _names(states: tuple[State, ...]) -> str:
    everything = tuple(state for state in State if state is not State.GONE)
    return "any other" if states == everything else ", ".join(states)


if __name__ == "__main__":
    print(page(), end="")
