"""What a look at an asset means, for every combination of what we know and what Immich holds."""

from hypothesis import given
from hypothesis import strategies as st

from autotagger.ledger.states import GOING, MEANT, TO_BE_THERE, LinkState
from autotagger.pipeline.writer.reconcile import Step, reconcile

MARKER = "m"
NAMES = ("a", "b", "c", MARKER)

links_known = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(LinkState))
tags_held = st.sets(st.sampled_from((*NAMES, "somebody's")))


def after(links: dict[str, LinkState], step: Step) -> dict[str, LinkState]:
    return {name: state for name, state in {**links, **step.links}.items() if name not in step.forgotten}


def carried_out(step: Step, links: dict[str, LinkState], held: set[str]) -> set[str]:
    """What Immich holds when the step's one call has been made."""
    if step.missing:
        return held | {name for name, state in links.items() if state in TO_BE_THERE}
    return held - step.wave


@given(links_known, tags_held)
def test_waves_end_and_then_everything_is_as_meant(links: dict[str, LinkState], held: set[str]) -> None:
    for _ in range(4):  # put on, take off, take the marker off, look: whatever the number of tags
        step = reconcile(links, held, MARKER)
        links = after(links, step)
        if step.done:
            break
        held = carried_out(step, links, held)
    assert step.done
    assert all((name in held) for name, state in links.items() if state in MEANT)
    assert not {LinkState.WANTED, LinkState.LEAVING, LinkState.RETIRED} & set(links.values())


@given(links_known, tags_held)
def test_what_is_not_ours_is_never_touched(links: dict[str, LinkState], held: set[str]) -> None:
    step = reconcile(links, held, MARKER)
    theirs = {name for name, state in links.items() if state is LinkState.FOUND} | held - links.keys()
    assert not theirs & (step.wave | step.missing)
    assert all(step.links[name] is LinkState.FOUND for name in theirs & step.links.keys())


@given(links_known, tags_held, st.data())
def test_what_a_wave_loses_of_anybodys_is_put_back(
    links: dict[str, LinkState], held: set[str], data: st.DataObject
) -> None:
    """Law 13: in a wave Immich can lose tags that were to stay, ours and a person's."""
    step = reconcile(links, held, MARKER)
    if not step.wave:
        return
    links = after(links, step)
    stays = held - step.wave
    lost = data.draw(st.sets(st.sampled_from(sorted(stays)))) if stays else set()
    step = reconcile(links, stays - lost, MARKER, after_wave=True)
    links = after(links, step)
    leaving = {name for name, state in links.items() if state in (*GOING, LinkState.REMOVED)}
    unwanted = {name for name, state in links.items() if state is LinkState.REJECTED}
    assert lost - leaving - unwanted <= step.missing
    held = carried_out(step, links, stays - lost)
    assert stays - leaving - unwanted <= held
    again = after(links, reconcile(links, held, MARKER))
    assert LinkState.LOST not in again.values()


@given(links_known, tags_held)
def test_what_a_person_took_off_is_never_put_back(links: dict[str, LinkState], held: set[str]) -> None:
    step = reconcile(links, held, MARKER)
    rejected = {name for name, state in after(links, step).items() if state is LinkState.REJECTED}
    assert not rejected & step.missing
    for name, state in links.items():
        if state is LinkState.PROVEN and name not in held and name != MARKER and MARKER in held:
            assert name in rejected


@given(links_known, tags_held)
def test_a_tag_that_was_there_before_its_first_call_is_somebody_elses(
    links: dict[str, LinkState], held: set[str]
) -> None:
    step = reconcile(links, held, MARKER)
    for name, state in links.items():
        if state is LinkState.WANTED and name in held and name != MARKER:
            assert step.links[name] is LinkState.FOUND


@given(links_known, tags_held)
def test_one_change_at_a_time_and_the_marker_leaves_last(links: dict[str, LinkState], held: set[str]) -> None:
    step = reconcile(links, held, MARKER)
    assert not (step.missing and step.wave)
    if MARKER in step.wave:
        assert step.surplus == {MARKER}


@given(links_known, tags_held)
def test_looking_twice_brings_nothing_more(links: dict[str, LinkState], held: set[str]) -> None:
    once = reconcile(links, held, MARKER)
    twice = reconcile(after(links, once), held, MARKER)
    assert twice.links == {} or set(twice.links.values()) <= {LinkState.REJECTED}


@given(links_known, tags_held)
def test_what_a_person_took_off_does_not_come_back_under_another_name(
    links: dict[str, LinkState], held: set[str]
) -> None:
    """`a` and `b` mean the same; unless one of them is there, the other is not put on after a removal (law 16)."""
    step = reconcile(links, held, MARKER, meanings=lambda name: frozenset({"ab" if name in ("a", "b") else name}))
    states = after(links, step)
    for one, other in (("a", "b"), ("b", "a")):
        if states.get(one) is LinkState.REJECTED and other not in held and links.get(other) is LinkState.WANTED:
            assert states[other] is LinkState.REMOVED
            assert other not in step.missing


@given(tags_held)
def test_only_what_was_read_back_and_not_looked_at_since_can_have_been_taken_off_by_a_person(
    held: set[str],
) -> None:
    states = after(
        {"a": LinkState.RETIRED, "b": LinkState.LEAVING, MARKER: LinkState.RETIRED},
        reconcile({"a": LinkState.RETIRED, "b": LinkState.LEAVING, MARKER: LinkState.RETIRED}, held, MARKER),
    )
    expected = LinkState.LEAVING if "a" in held else LinkState.REJECTED if MARKER in held else LinkState.REMOVED
    assert states["a"] is expected
    assert states["b"] is (LinkState.LEAVING if "b" in held else LinkState.REMOVED)
    assert states[MARKER] is (LinkState.LEAVING if MARKER in held else LinkState.REMOVED)
