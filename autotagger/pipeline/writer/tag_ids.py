"""Tag names to Immich's tag ids: one listing, then an upsert only for what is new."""

from collections.abc import Iterable

from autotagger.immich.client import ImmichClient


class TagIds:
    """What we believe of Immich's tags. Its clean-up job deletes empty ones and people delete any, and a call with
    a vanished id is silently ignored (docs/immich.md, law 2): whoever notices says `forget`."""

    def __init__(self, client: ImmichClient) -> None:
        self._client = client
        self._ids: dict[str, str] | None = None

    async def resolve(self, names: Iterable[str]) -> dict[str, str]:
        """The id of every name, creating the tags that are not there."""
        if self._ids is None:
            self._ids = {tag.value: tag.id for tag in await self._client.tags()}
        missing = sorted(set(names) - self._ids.keys())
        if missing:
            self._ids |= {value: tag.id for value, tag in (await self._client.upsert_tags(missing)).items()}
        return {name: self._ids[name] for name in names}

    async def known(self, name: str) -> str | None:
        """The id of a tag if Immich has it; nothing is created."""
        if self._ids is None:
            self._ids = {tag.value: tag.id for tag in await self._client.tags()}
        return self._ids.get(name)

    async def touch(self, name: str) -> int:
        """Write a tag, which is made where it is not there. Returns its `updatedAt`, epoch milliseconds."""
        tag = (await self._client.upsert_tags([name]))[name]
        if self._ids is not None:
            self._ids[name] = tag.id
        return tag.updated_ms

    async def has_children(self, name: str) -> bool:
        """Whether Immich has tags below this one, whose assets a listing of it would bring too."""
        await self.known(name)
        return any(value.startswith(f"{name}/") for value in self._ids or ())

    def forget(self) -> None:
        """Ask Immich again before the next use."""
        self._ids = None
