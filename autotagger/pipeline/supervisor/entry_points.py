"""The entry points of the child processes.

A spawned process imports the module that its entry point lies in, and the supervisor has to import it too. Each
role's own machinery - aiohttp, SQLite, numpy, Pillow, the runtime - is therefore imported by the process that has
the role, and by no other: tests/pipeline/test_imports.py holds them to it.
"""

from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.ipc.channel import Channel
from autotagger.pipeline.ipc.slots import SlotMemory


def fetch(channel: Channel, spec: ChildSpec, memory: SlotMemory) -> None:
    """The fetcher process."""
    from autotagger.pipeline.fetcher.fetcher import fetcher_main

    fetcher_main(channel, spec, memory)


def infer(channel: Channel, spec: ChildSpec, memory: SlotMemory) -> None:
    """An inference process."""
    from autotagger.pipeline.inferencer import inferencer_main

    inferencer_main(channel, spec, memory)


def write(channel: Channel, spec: ChildSpec) -> None:
    """The writer process."""
    from autotagger.pipeline.writer.writer import writer_main

    writer_main(channel, spec)
