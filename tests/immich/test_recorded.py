"""The client held against what real servers recorded, and against their own OpenAPI documents."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import jsonschema
import orjson
import pytest
from aiohttp import web

from autotagger.errors import AssetFailed, AssetGone, AutotaggerError, ServerRefused
from autotagger.immich import parsing
from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import connect
from autotagger.immich.searches import Narrowing
from autotagger.immich.status import judge
from autotagger.immich.sweep import members, sweep, tagged
from autotagger.immich.transport import Reply, Request, Trouble
from autotagger.immich.types import Dialect
from autotagger.settings import ImmichSettings
from tests.immich.support import ASSET, OWNER, TAG, client_of, item, page_of, serving, uuid
from tests.recorded import VERSIONS, document, exchanges

#: Recorded calls that the client makes: how their answers are read.
READERS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("GET", "server/version"): parsing.version,
    ("GET", "api-keys/me"): parsing.permissions,
    ("GET", "users/me"): parsing.user_id,
    ("POST", "search/metadata"): parsing.page,
    ("POST", "search/statistics"): parsing.total,
    ("GET", "assets/{id}"): parsing.tagged_asset,
    ("GET", "tags"): parsing.tags,
    ("PUT", "tags"): parsing.tags,
    ("PUT", "tags/assets"): parsing.count,
}


def route(path: str) -> str:
    path = path.partition("?")[0].removeprefix("/api/")
    steps = [
        "{id}" if step and before in ("assets", "tags") and step not in ("assets",) else step
        for before, step in zip(("", *path.split("/")), path.split("/"), strict=False)
    ]
    return "/".join(steps)


EXAMPLES = [
    pytest.param(example, id=f"{version}-{example['name']}")
    for version in VERSIONS
    for example in exchanges(version)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_recorded_answer_is_understood(example: dict[str, Any]) -> None:
    asked, answered = example["request"], example["response"]
    name, status = route(asked["path"]), answered["status"]
    picture = name.endswith(("thumbnail", "original"))
    about = f"asset {ASSET}" if name.startswith("assets/") or name == "tags/assets" else None
    request = Request(name, asked["method"], name, about=about, picture=picture)
    reply = Reply(status, answered["headers"], orjson.dumps(answered["body"]), 0.0)
    if status < 300:
        judge(request, reply)
        read = READERS.get((asked["method"], name))
        if read is not None:
            read(parsing.decode(reply.body))
    elif status >= 400:
        expected = {400: (AssetGone, AssetFailed, ServerRefused), 401: (ServerRefused,), 403: (ServerRefused,)}
        with pytest.raises(expected.get(status, (AutotaggerError,))) as caught:
            judge(request, reply)
        assert parsing.problem(reply.body)
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, Trouble) == (status >= 500)
        assert isinstance(caught.value, AssetGone) == (b"Not found or no asset" in reply.body)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_recordings_hold_every_kind_of_answer_that_is_read(version: str) -> None:
    recorded = {(e["request"]["method"], route(e["request"]["path"])) for e in exchanges(version)}
    assert set(READERS) <= recorded


@pytest.mark.parametrize("version", VERSIONS)
def test_items_of_real_searches_are_all_readable(version: str) -> None:
    pages = [
        parsing.page(example["response"]["body"])
        for example in exchanges(version)
        if route(example["request"]["path"]) == "search/metadata" and example["response"]["status"] == 200
    ]
    assert sum(len(page.assets) for page in pages) > 3
    assert all(page.unreadable == 0 for page in pages)
    assert any(page.next_page == 2 for page in pages)


class Contract:
    """An Immich that answers anything, after checking that the request is as its OpenAPI document says."""

    def __init__(self, version: str) -> None:
        said = document(version)
        self.version = tuple(int(part) for part in version.split("."))
        self.paths: dict[str, Any] = said["paths"]
        self.schemas = {"components": said["components"]}
        self.asked: set[tuple[str, str]] = set()
        self.faults: list[str] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        name = route(request.path)
        self.asked.add((request.method, name))
        try:
            self.check(name, request.method.lower(), dict(request.query), await request.read())
        except (AssertionError, KeyError, jsonschema.ValidationError) as error:
            self.faults.append(f"{request.method} {name}: {error}")
        return self.answer(request.method, name, await request.read())

    def check(self, name: str, method: str, query: dict[str, str], body: bytes) -> None:
        operation = self.paths[f"/{name}"][method]
        parameters = {p["name"]: p for p in operation.get("parameters", []) if p["in"] == "query"}
        assert set(query) <= set(parameters), query
        for key, value in query.items():
            schema = parameters[key]["schema"]
            truths = {"true": True, "false": False} if schema.get("type") == "boolean" else {}
            number = schema.get("type") in ("number", "integer")
            self.validate(int(value) if number else truths.get(value, value), schema)
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        assert bool(content) == bool(body), "a body where none is due, or none where one is"
        if content:
            schema = content["schema"]
            named = self.schemas["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            assert set(orjson.loads(body)) <= set(named["properties"]), "a field that Immich would ignore"
            self.validate(orjson.loads(body), schema)

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        checker = jsonschema.FormatChecker()
        jsonschema.Draft202012Validator({**schema, **self.schemas}, format_checker=checker).validate(value)

    def answer(self, method: str, name: str, body: bytes) -> web.StreamResponse:
        answers: dict[tuple[str, str], Any] = {
            ("GET", "server/version"): dict(zip(("major", "minor", "patch"), self.version, strict=True)),
            ("GET", "server/ping"): {"res": "pong"},
            ("GET", "api-keys/me"): {"permissions": ["all"]},
            ("GET", "users/me"): {"id": OWNER},
            ("POST", "search/statistics"): {"total": 1},
            ("GET", "assets/{id}"): item(1, tags=[]),
            ("GET", "tags"): [{"id": TAG, "value": "auto:processed"}],
            ("PUT", "tags"): [{"id": TAG, "value": "1girl"}],
            ("PUT", "tags/assets"): {"count": 1},
        }
        if name.endswith(("thumbnail", "original")):
            return web.Response(body=b"jpeg", content_type="image/jpeg")
        if name == "search/metadata":
            page = int(orjson.loads(body)["page"])
            return web.json_response(page_of([item(page)], nextPage="2" if page == 1 else None))
        answers["GET", "albums"] = answers["GET", "libraries"] = []
        answers["GET", "people"] = {"people": [], "hasNextPage": False}
        return web.json_response(answers[method, name])


@pytest.fixture(params=VERSIONS)
async def contract(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Contract, ImmichClient]]:
    checked = Contract(request.param)
    async with serving(checked) as server, client_of(server.url) as client:
        yield checked, client


async def test_every_request_is_as_the_openapi_documents_say(contract: tuple[Contract, ImmichClient]) -> None:
    checked, client = contract
    found = await connect(client, ImmichSettings(base_url=client.address))
    assert await client.ping()
    for types in (("image",), ("video",), ("image", "video")):
        [
            _
            async for _ in sweep(
                client, found, marker="auto:processed", types=types, visibilities=("timeline", "hidden")
            )
        ]
    narrow = Narrowing((uuid(6),), (uuid(7),), (uuid(8),), uuid(9), True, 1, 2, 3, 4)
    [_ async for _ in members(client, visibilities=("timeline",), within=(narrow,), with_exif=True)]
    await client.albums(shared_apart=found.dialect is Dialect.V2_7)
    await client.people()
    await client.libraries()
    [_ async for _ in tagged(client, TAG, updated_after_ms=1795361098587)]
    await client.asset(ASSET)
    for size in ("preview", "thumbnail", "original"):
        await client.picture(ASSET, size)
    await client.upsert_tags(["1girl"])
    await client.tag_assets([ASSET, uuid(5)], [TAG])
    assert checked.faults == []
    assert len(checked.asked) == 15


async def test_the_check_itself_notices(contract: tuple[Contract, ImmichClient]) -> None:
    checked, client = contract
    odd: list[dict[str, Any]] = [{"page": "1"}, {"page": 1, "size": 1001}, {"page": 1, "filter": {}}]
    for body in odd:
        await client.search(body)
    assert len(checked.faults) == len(odd)
