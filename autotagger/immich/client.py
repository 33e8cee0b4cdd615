"""The calls we need, typed, each tried again as long as that makes sense."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar

import orjson
from loguru import logger
from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from autotagger.errors import AssetFailed, AutotaggerError, Retryable, ServerRefused, Unreachable
from autotagger.immich import parsing
from autotagger.immich.pacing import Clock, Limiter
from autotagger.immich.parsing import BadAnswer, checked_id
from autotagger.immich.status import NOT_UNDERSTOOD, PROXY_REFUSED, judge
from autotagger.immich.transport import Reply, Request, Transport, Trouble
from autotagger.immich.types import (
    Asset,
    Named,
    Page,
    Part,
    Picture,
    PictureSize,
    ServerVersion,
    Tag,
    TaggedAsset,
)
from autotagger.settings import ImmichSettings

T = TypeVar("T")

#: Asset-tag pairs in one call. Immich fails above 32,767 and writes nothing (docs/immich.md, law 5).
MAX_PAIRS = 5000
#: So many different assets refused by a proxy, and nothing answered in between: it is not the assets.
_REFUSED_ASSETS = 5
#: Immich creates about 170 tags a second: a chunk takes it a second or two.
_UPSERT_CHUNK = 250
#: Tries of a call about one asset before `GET /server/ping` is asked who is to blame.
_ASSET_TRIES = 4
#: Full jitter: a random wait between 0 and 1, 2, 4 ... 30 s.
_BACKOFF = wait_random_exponential(multiplier=1.0, max=30.0)
#: The calls before a run are tried for this long only: a person is waiting for the answer.
_START_BUDGET_S = 8.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)", re.ASCII)
#: One warning in this many seconds says that calls are tried again; the others are for debugging.
_WARN_EVERY_S = 30.0


#: People are told a thousand at a time.
_MAX_PEOPLE_PAGES = 1000
_albums = partial(parsing.named, name="albumName")


class ImmichClient:
    """Talks to one Immich with one key, as an async context manager around one pool of connections.

    Every call raises, after its tries: Unreachable when Immich is down for longer than `retry_budget_s`;
    Retryable (`server-error`) when Immich is up but keeps failing on this one asset; ServerRefused when the key
    or the address is at fault; AssetFailed (`proxy-refused`) when a proxy refuses this asset alone (Retryable
    where ping is refused too, and no other asset so far). What else a
    call raises is said there. `calls` counts calls by name (a call that is tried three times counts once):
    `search`, `asset`, `preview`, `thumbnail`, `original`, `tag_assets` ...

    `filters`: whether the server searches by `filter` (`dialect` finds out); None while nobody has asked.

    `exchanged` is told of every single try: the call's name, `ok`, `failed` (tried again where that makes sense)
    or `refused`, and the seconds it took.

    `sleep` and `clock` (seconds, monotonic) are for tests that must not wait.
    """

    def __init__(
        self,
        settings: ImmichSettings,
        key: SecretStr,
        limiter: Limiter | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.filters: bool | None = None
        self.exchanged: Callable[[str, str, float], None] = lambda _call, _outcome, _seconds: None
        self._settings, self._sleep, self._clock = settings, sleep, clock
        self._limiter = limiter or Limiter(settings.concurrency, clock=clock)
        self._transport = Transport(settings, key, clock=clock)
        self._warn_at = float("-inf")
        self._refused: set[str] = set()

    def __repr__(self) -> str:
        return f"ImmichClient({self.address})"

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.__aexit__()

    @property
    def address(self) -> str:
        """The API's root, for messages: `http://192.168.1.100:2283/api`."""
        return str(self._transport.api)

    async def ping(self) -> bool:
        """Whether Immich answers right now; one try, never raises for a server that is down."""
        request = Request("ping", "GET", "server/ping", keyed=False)
        try:
            reply = await self._transport.exchange(request)
            return reply.status == 200 and parsing.decode(reply.body) == {"res": "pong"}
        except (Retryable, BadAnswer):
            return False

    async def version(self) -> ServerVersion:
        """The server's version, asked without the key and tried for a few seconds only.

        Raises BadAnswer when something answers that is not Immich.
        """
        request = Request("version", "GET", "server/version", keyed=False)
        reply = await self._call(request, lambda reply: reply, budget_s=_START_BUDGET_S)
        return parsing.version(parsing.decode(reply.body))

    async def permissions(self) -> frozenset[str]:
        """The names of the key's own permissions (`asset.read`, or `all`)."""
        request = Request("permissions", "GET", "api-keys/me")
        return await self._json(request, parsing.permissions, budget_s=_START_BUDGET_S)

    async def my_user_id(self) -> str:
        """The id of the key's owner. Needs `user.read`."""
        return await self._json(
            Request("my_user_id", "GET", "users/me"), parsing.user_id, budget_s=_START_BUDGET_S
        )

    async def tags_enabled(self) -> bool | None:
        """Whether Immich shows tags to the key's owner, None if it does not say. Needs `userPreference.read`."""
        request = Request("preferences", "GET", "users/me/preferences")
        return await self._json(request, parsing.tags_enabled, budget_s=_START_BUDGET_S)

    async def search(self, body: Mapping[str, Any]) -> Page:
        """One page of `POST /search/metadata`; bodies come from `searches`. Needs `asset.read`."""
        return await self._json(_post("search", "search/metadata", body), parsing.page)

    async def random(self, body: Mapping[str, Any]) -> tuple[Asset, ...]:
        """Assets by chance, of `POST /search/random`; bodies come from `searches`. Needs `asset.read`."""
        return await self._json(_post("random", "search/random", body), parsing.assets)

    async def total(self, body: Mapping[str, Any]) -> int:
        """How many assets a search holds in all. Needs `asset.statistics`."""
        return await self._json(_post("total", "search/statistics", body), parsing.total)

    async def asset(self, asset_id: str) -> TaggedAsset:
        """The asset with its tags. Needs `asset.read`. Raises AssetGone."""
        asset_id = _path_id(asset_id)
        request = Request("asset", "GET", f"assets/{asset_id}", about=f"asset {asset_id}")
        return await self._json(request, parsing.tagged_asset)

    async def picture(self, asset_id: str, size: PictureSize) -> Picture:
        """The asset's picture as its owner sees it, crops and rotations included (law 19).

        Needs `asset.view`, for the original `asset.download`.

        Raises Retryable (`preview-missing`: not generated yet, corrupt for good, or half of a motion photo;
        `original-missing`), AssetGone, and AssetFailed (`too-large`) above `max_picture_bytes`.
        """
        asset_id = _path_id(asset_id)
        original = size == "original"
        request = Request(
            size,
            "GET",
            f"assets/{asset_id}/original" if original else f"assets/{asset_id}/thumbnail",
            query={"edited": "true"} if original else {"size": size, "edited": "true"},
            about=f"asset {asset_id}",
            picture=True,
            max_bytes=self._settings.max_picture_bytes,
        )
        return await self._call(request, _picture)

    async def playback(self, asset_id: str, start: int, length: int, *, max_bytes: int) -> Part:
        """`length` bytes of a video from `start` on, or all of it where Immich knows no ranges.

        Needs `asset.view`. Raises as `picture`; AssetFailed (`too-large`) above `max_bytes`.
        """
        asset_id = _path_id(asset_id)
        request = Request(
            "playback",
            "GET",
            f"assets/{asset_id}/video/playback",
            about=f"asset {asset_id}",
            picture=True,
            max_bytes=max_bytes,
            part=(start, start + length - 1),
        )
        return await self._call(request, lambda reply: _part(reply, start))

    async def tags(self) -> list[Tag]:
        """Every tag of the key's owner. Needs `tag.read`."""
        return await self._json(Request("tags", "GET", "tags"), parsing.tags)

    async def albums(self, *, shared_apart: bool = False) -> list[Named]:
        """Every album that the key's owner has, or that others share with them. Needs `album.read`.

        `shared_apart`: 2.7 tells the owner's and the shared ones in two calls, 3.x all at once.
        """
        found = await self._json(Request("albums", "GET", "albums"), _albums)
        if shared_apart:
            shared = Request("albums", "GET", "albums", query={"shared": "true"})
            found += await self._json(shared, _albums)
        return list({album.id: album for album in found}.values())

    async def people(self) -> list[Named]:
        """Every person that the key's owner has, hidden ones too. Needs `person.read`."""
        found: dict[str, Named] = {}
        for page in range(1, _MAX_PEOPLE_PAGES + 1):
            query = {"page": str(page), "size": "1000", "withHidden": "true"}
            some, more = await self._json(Request("people", "GET", "people", query=query), parsing.people)
            found |= {person.id: person for person in some}
            if not more:
                break
        return list(found.values())

    async def libraries(self) -> list[Named]:
        """Every external library of the server. Needs an administrator's key with `library.read`."""
        read = partial(parsing.named, name="name")
        return await self._json(Request("libraries", "GET", "libraries"), read)

    async def upsert_tags(self, values: Sequence[str]) -> dict[str, Tag]:
        """Make sure that all `values` exist as tags, and say which they are. Needs `tag.create`.

        Raises AssetFailed (`tag-refused`) when Immich does not answer with one of them.
        """
        wanted = list(dict.fromkeys(values))
        found: dict[str, Tag] = {}
        for start in range(0, len(wanted), _UPSERT_CHUNK):
            chunk = wanted[start : start + _UPSERT_CHUNK]
            about = f"{len(chunk)} tags ({chunk[0]!r} ...)"  # refusals are counted by it
            request = _put("upsert_tags", "tags", {"tags": chunk}, about=about)
            found |= {tag.value: tag for tag in await self._json(request, parsing.tags)}
        missing = [value for value in wanted if value not in found]
        if missing:
            raise AssetFailed(f"Immich did not create the tag {missing[0]!r}", kind="tag-refused")
        return {value: found[value] for value in wanted}

    async def tag_assets(self, asset_ids: Sequence[str], tag_ids: Sequence[str]) -> int:
        """Put all the tags on all the assets in one call. Needs `tag.asset`.

        Returns how many pairs are new: 0 when all were there, and when Immich skipped them. It skips silently what
        it does not know or like: only a later look proves anything. Raises ValueError for no pair at all and for
        more than `MAX_PAIRS`.
        """
        pairs = len(asset_ids) * len(tag_ids)
        if not 0 < pairs <= MAX_PAIRS:
            raise ValueError(f"{pairs} pairs in one tag call: 1 to {MAX_PAIRS} are allowed")
        body = {"assetIds": [_path_id(one) for one in asset_ids], "tagIds": [_path_id(one) for one in tag_ids]}
        about = f"asset {asset_ids[0]}" + (f" and {len(asset_ids) - 1} more" if len(asset_ids) > 1 else "")
        return await self._json(_put("tag_assets", "tags/assets", body, about=about), parsing.count)

    async def untag_assets(self, asset_ids: Sequence[str], tag_id: str) -> frozenset[str]:
        """Take one tag off all the assets. Needs `tag.asset`.

        Returns the ids of those that had it and lost it now. Raises AssetGone when Immich does not have the tag
        any more.
        """
        answers = await self.untag(asset_ids, tag_id)
        return frozenset(asset_id for asset_id, answer in answers.items() if answer == "success")

    async def untag(self, asset_ids: Sequence[str], tag_id: str) -> dict[str, str]:
        """The same, with Immich's word for each asset: `success`, `not_found` without the tag, or why not."""
        request = Request(
            "untag_assets",
            "DELETE",
            f"tags/{_path_id(tag_id)}/assets",
            body=orjson.dumps({"ids": [_path_id(one) for one in asset_ids]}),
            about=f"tag {tag_id} on {len(asset_ids)} assets",
        )
        return await self._json(request, parsing.outcomes)

    async def delete_tag(self, tag_id: str) -> None:
        """Delete a tag. Needs `tag.delete`. Raises AssetGone when it is not there any more."""
        request = Request("delete_tag", "DELETE", f"tags/{_path_id(tag_id)}", about=f"tag {tag_id}")
        await self._call(request, lambda _: None)

    async def set_visibility(self, asset_ids: Sequence[str], visibility: str) -> None:
        """Show the assets somewhere else (`archive`, `locked`). Needs `asset.update`.

        Immich refuses the whole call for one asset that it does not let us change: AssetGone, AssetFailed.
        A PATCH where the server has it, else the PUT that goes away with 4 (law 20).
        """
        body = {"ids": [_path_id(one) for one in asset_ids], "visibility": visibility}
        about = f"asset {asset_ids[0]}" + (f" and {len(asset_ids) - 1} more" if len(asset_ids) > 1 else "")
        request = _put("set_visibility", "assets", body, about=about)
        if self.filters is not False:  # 3.2, as far as we know
            try:
                await self._call(replace(request, method="PATCH"), lambda _: None)
                return
            except ServerRefused as error:
                if error.kind != NOT_UNDERSTOOD:
                    raise
        await self._call(request, lambda _: None)

    async def queued_jobs(self, *, by_name: bool) -> int:
        """Jobs that wait or run in the sidecar and metadata queues.

        Needs an administrator's key with `queue.read`, or before 3.0 (`by_name`) with `job.read`; raises
        ServerRefused for any other.
        """
        path, read = ("jobs", parsing.queued_by_name) if by_name else ("queues", parsing.queued)
        return await self._json(Request("queued_jobs", "GET", path), read)

    async def _json(self, request: Request, read: Callable[[Any], T], *, budget_s: float | None = None) -> T:
        return await self._call(request, lambda reply: read(parsing.decode(reply.body)), budget_s=budget_s)

    async def _call(self, request: Request, read: Callable[[Reply], T], *, budget_s: float | None = None) -> T:
        """Try until there is an answer, the time is up, or the asset turns out to be the cause."""
        self.calls[request.name] += 1
        budget_s = min(self._settings.retry_budget_s, budget_s or float("inf"))
        until = self._clock() + budget_s
        asset_is_to_blame = False

        async def worth_another(state: RetryCallState) -> bool:
            nonlocal asset_is_to_blame
            if not isinstance(_failure(state), Trouble):
                return False
            if request.about and state.attempt_number % _ASSET_TRIES == 0:
                asset_is_to_blame = await self.ping()
            return not asset_is_to_blame

        retrying = AsyncRetrying(
            retry=worth_another,
            wait=_wait_s,
            stop=lambda state: self._clock() + state.upcoming_sleep > until,
            sleep=self._sleep,
            before_sleep=self._say_again,
            reraise=True,
        )
        try:
            return await retrying(self._attempt, request, read)
        except Trouble as trouble:
            cause = trouble.message
        except ServerRefused as refusal:
            if refusal.kind != PROXY_REFUSED or not request.about:
                raise
            raise await self._blamed(request.about, refusal) from None
        if request.about and (asset_is_to_blame or await self.ping()):
            raise Retryable(f"{request.about}: {request.name} keeps failing: {cause}", kind="server-error")
        raise Unreachable(f"{cause} (tried for {budget_s:.0f} s)")

    async def _blamed(self, about: str, refusal: ServerRefused) -> AutotaggerError:
        """Whose fault a proxy's refusal is: the asset's, as long as Immich or other assets are let through."""
        self._refused.add(about)
        if len(self._refused) >= _REFUSED_ASSETS:
            return refusal
        if await self.ping():
            return AssetFailed(f"{about}: {refusal.message}; other assets go on", kind=PROXY_REFUSED)
        if len(self._refused) > 1:
            return refusal
        # Some proxies let no ping through, and one that lets nothing through may be no more than restarting.
        return Retryable(f"{about}: {refusal.message}", kind=PROXY_REFUSED)

    async def _attempt(self, request: Request, read: Callable[[Reply], T]) -> T:
        """One exchange in one place of the limiter, which learns how it went."""
        async with self._limiter.place():
            begun = self._clock()
            try:
                reply = await self._transport.exchange(request)
                judge(request, reply)
                answer = _understood(request, reply, read)
            except AutotaggerError as error:
                error.message = self._transport.without_key(error.message)
                error.args = (error.message,)
                failed = isinstance(error, Trouble)
                if failed:
                    self._limiter.failed(begun)
                self.exchanged(request.name, "failed" if failed else "refused", self._clock() - begun)
                raise
            self.exchanged(request.name, "ok", self._clock() - begun)
            if request.about:
                self._refused.clear()
            if request.method == "GET":
                self._limiter.answered(request.name, begun, reply.first_byte_s)
            else:
                self._limiter.welcome()
            return answer

    def _say_again(self, state: RetryCallState) -> None:
        """One line about a try that failed: a warning now and then, not one a call while the server is down."""
        now = self._clock()
        level = "WARNING" if now >= self._warn_at else "DEBUG"
        if level == "WARNING":
            self._warn_at = now + _WARN_EVERY_S
        logger.log(level, "Immich: {}; trying again in {:.1f} s", _failure(state), state.upcoming_sleep)


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _wait_s(state: RetryCallState) -> float:
    failure = _failure(state)
    asked = failure.retry_after_s if isinstance(failure, Trouble) else None
    return max(asked or 0.0, _BACKOFF(state))


def _understood(request: Request, reply: Reply, read: Callable[[Reply], T]) -> T:
    try:
        return read(reply)
    except BadAnswer as error:
        raise Trouble(f"{request.name} answered {error}", kind="bad-answer") from None


def _picture(reply: Reply) -> Picture:
    content_type = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type.startswith("text/") or content_type == "application/json":
        raise BadAnswer(f"{content_type} instead of a picture")
    return Picture(reply.body, content_type)


def _part(reply: Reply, start: int) -> Part:
    if reply.status != 206:
        return Part(reply.body, 0, len(reply.body))
    found = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
    if found is None or int(found[1]) != start or not reply.body:
        raise BadAnswer("another part of the video than the one asked for")
    return Part(reply.body, start, int(found[2]))


def _post(name: str, path: str, body: Mapping[str, Any]) -> Request:
    return Request(name, "POST", path, body=orjson.dumps(dict(body)))


def _put(name: str, path: str, body: Mapping[str, Any], *, about: str) -> Request:
    return Request(name, "PUT", path, body=orjson.dumps(dict(body)), about=about)


def _path_id(raw: str) -> str:
    """An id that may go into a path or a body. Raises AssetFailed: Immich refuses a whole call for one bad id."""
    try:
        return checked_id(raw)
    except BadAnswer as error:
        raise AssetFailed(str(error), kind="bad-id") from None
