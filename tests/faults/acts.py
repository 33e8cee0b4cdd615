"""The hands that disturb a run: processes die and hang, Immich goes away, people change their library."""

import asyncio
import signal

from autotagger.ledger.states import State
from tests.faults.story import Story, states
from tests.pipeline.support import MARKER

#: No asset of these has a tag call behind it: whatever vanishes now, their calls must still bring everything.
NOT_SENT = (State.PENDING, State.WAITING, State.SCORED)


async def kill_one(story: Story) -> None:
    if children := story.below():
        story.draw.choice(children).kill()


async def kill_workers(story: Story) -> None:
    """All of them but the supervisor."""
    for child in story.below():
        child.kill()


async def kill_supervisor(story: Story) -> None:
    story.endings.add(-signal.SIGKILL)
    story.below()
    if story.run.returncode is None:
        story.run.kill()


async def kill_everything(story: Story) -> None:
    story.endings.add(-signal.SIGKILL)
    victims = story.below()
    story.draw.shuffle(victims)
    if story.run.returncode is None:
        story.run.kill()
    for victim in victims:
        victim.kill()


async def hang_one(story: Story) -> None:
    """SIGSTOP: it lives, holds what it holds, and says nothing."""
    if children := story.below():
        story.draw.choice(children).suspend()


async def stop_gracefully(story: Story) -> None:
    story.endings |= {130, -signal.SIGTERM}  # the latter before it had begun
    if story.run.returncode is None:
        story.run.send_signal(signal.SIGTERM)


async def refuse_for_a_moment(story: Story) -> None:
    await story.server.go_down()
    await asyncio.sleep(0.2)
    await story.server.come_up()


async def be_down_too_long(story: Story) -> None:
    """Longer than the whole retry budget: the run ends and says so."""
    story.endings.add(4)
    await story.server.go_down()
    await story.run.wait()
    await story.server.come_up()


async def revoke_the_key(story: Story) -> None:
    story.endings.add(4)
    for secret in list(story.server.world.keys):
        story.server.revoke_key(secret)
    story.server.api_key = story.server.add_key(["all", str(story.draw.random())])


async def take_assets_away(story: Story) -> None:
    """Delete, trash or lock a few, anywhere between listing and proof."""
    rows = sorted(story.server.store.rows)
    for asset_id in story.draw.sample(rows, min(6, len(rows))):
        story.taken.add(asset_id)
        match story.draw.randrange(3):
            case 0:
                story.server.remove(asset_id)
            case 1:
                story.server.trash(asset_id)
            case _:
                story.server.set_visibility(asset_id, "locked")


async def delete_a_tag(story: Story) -> None:
    """The marker or another one, as a person or Immich's clean-up may at any time (law 2)."""
    there = sorted(story.server.store.tags_by_value)
    if not there or story.deleted_tag:
        return
    story.deleted_tag = MARKER if story.draw.random() < 0.5 and MARKER in there else story.draw.choice(there)
    # No await from here on: between the look and the deed the server must not serve a call.
    story.must_have_it = frozenset(states(story.state_dir, NOT_SENT))
    story.server.delete_tag(story.deleted_tag)


async def set_the_clock(story: Story) -> None:
    story.clock.ahead_s += story.draw.choice((-7200.0, -30.0, 30.0, 86_400.0))
