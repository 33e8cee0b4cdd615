"""The stand-in held against what real servers said: recorded exchanges and their own OpenAPI documents."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from autotagger.demo import Fate, StandIn, draw_library
from tests.demo.support import Answer, Api, good, running
from tests.recorded import VERSIONS, document, exchanges

_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
OPTIONAL = {"parentId", "color"}
PER_REQUEST = {"correlationId"}


class Replay:
    """Sends recorded requests in their order, with our ids in the place of theirs."""

    def __init__(self, server: StandIn, api: Api) -> None:
        self._server = server
        self._api = api
        self._ours: dict[str, str] = {}
        self._assets = iter(good(server.library, 20))
        (self._stranger,) = server.library.expected[Fate.STRANGER]
        self._restricted = server.add_key(
            ["asset.read", "asset.view", "tag.read", "tag.create", "tag.asset", "asset.statistics"]
        )

    async def send(self, example: dict[str, Any]) -> Answer:
        name, request = example["name"], example["request"]
        path, body = self._translated(name, request["path"]), request["body"]
        if isinstance(body, str):
            body = body.encode()
        elif body is not None:
            body = json.loads(self._translated(name, json.dumps(body)))
        answer = await self._api.call(
            request["method"], path, body, headers=self._headers(name), key=self._key(example)
        )
        self._learn(example["response"]["body"], answer)
        return answer

    def _translated(self, name: str, text: str) -> str:
        return _UUID4.sub(lambda match: self._our_id(name, match[0]), text)

    def _our_id(self, name: str, theirs: str) -> str:
        if "unknown" in name or name in ("search_unknown_field", "search_untagged"):
            return self._ours.get(theirs, theirs)
        if theirs not in self._ours:
            if name == "tag_assets":
                self._ours[theirs] = self._stranger
            elif "video" in name:
                self._ours[theirs] = self._server.library.awkward("video").id
            else:
                self._ours[theirs] = next(self._assets)
        return self._ours[theirs]

    def _learn(self, theirs: Any, answer: Answer) -> None:
        """Pair the tag ids of their answer with ours."""
        if isinstance(theirs, list) and theirs and isinstance(theirs[0], dict) and "value" in theirs[0]:
            ours = {tag["value"]: tag["id"] for tag in answer.body}
            self._ours |= {tag["id"]: ours[tag["value"]] for tag in theirs if tag.get("value") in ours}

    def _key(self, example: dict[str, Any]) -> str | None:
        name, status = example["name"], example["response"]["status"]
        if name in ("no_key", "bearer_key"):
            return ""
        if name in ("wrong_key", "bulk_tag_forbidden"):
            return "nonsense"
        return self._restricted if name == "user_me_forbidden" and status == 403 else None

    @staticmethod
    def _headers(name: str) -> dict[str, str]:
        if name == "bearer_key":
            return {"Authorization": "Bearer nonsense"}
        return {"Range": "bytes=0-99"} if name.endswith("_range") else {}


def assert_same_shape(ours: Any, theirs: Any, where: str) -> None:
    """The same keys and nesting; of lists the first items count, where both have any."""
    assert type(ours) is type(theirs) or not {type(ours), type(theirs)} & {dict, list}, where
    if isinstance(theirs, dict):
        assert ours.keys() - OPTIONAL == theirs.keys() - OPTIONAL, where
        for key in theirs.keys() & ours.keys():
            assert_same_shape(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list) and ours and theirs:
        assert_same_shape(ours[0], theirs[0], f"{where}[0]")


def without_request_numbers(body: Any) -> Any:
    return (
        {key: value for key, value in body.items() if key not in PER_REQUEST} if isinstance(body, dict) else body
    )


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_recorded_exchange_is_answered_alike(version: str) -> None:
    async with running(draw_library(60), VERSIONS[version]) as (server, api):
        replay = Replay(server, api)
        for example in exchanges(version):
            theirs, ours = example["response"], await replay.send(example)
            name = example["name"]
            assert ours.status == theirs["status"], name
            compare_headers(name, theirs["headers"], ours)
            if theirs["body"] is None or isinstance(theirs["body"], str):
                continue
            if ours.status >= 400:
                assert without_request_numbers(ours.body) == without_request_numbers(theirs["body"]), name
            assert_same_shape(ours.body, theirs["body"], name)


def compare_headers(name: str, theirs: dict[str, str], ours: Answer) -> None:
    for header in ("content-type", "cache-control", "location"):
        if header in theirs:
            assert ours.headers[header] == theirs[header], (name, header)
    if "etag" in theirs:
        assert re.sub(r"[\w+/-]+", "x", ours.headers["etag"]) == re.sub(r"[\w+/-]+", "x", theirs["etag"]), name


# OpenAPI


def as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0 into JSON Schema: `nullable` becomes a choice with null."""
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    converted = {key: as_json_schema(value) for key, value in node.items() if key != "nullable"}
    return {"anyOf": [converted, {"type": "null"}]} if node.get("nullable") is True else converted


def template_of(path: str) -> str:
    """`/api/assets/<id>/thumbnail?size=x` -> `/assets/{id}/thumbnail`"""
    return _UUID4.sub("{id}", path.partition("?")[0].removeprefix("/api"))


async def good_exchanges(server: StandIn, api: Api) -> list[tuple[str, str, Any]]:
    """Method, path and body of a call of each kind, over every kind of asset."""
    tags = await api.upsert("plain", "deep/leaf")
    ids = good(server.library, 30)
    await api.tag(ids, tags.values())
    plain, leaf = tags["plain"], tags["deep/leaf"]
    return [
        *(("GET", f"/api/server/{what}", None) for what in ("version", "ping", "features")),
        ("GET", "/api/api-keys/me", None),
        ("GET", "/api/users/me", None),
        ("GET", "/api/users/me/preferences", None),
        ("POST", "/api/search/metadata", {"size": 1000, "withExif": True}),
        ("POST", "/api/search/metadata", {"size": 5, "withDeleted": True}),
        ("POST", "/api/search/random", {"size": 5}),
        ("POST", "/api/search/statistics", {}),
        *(("GET", f"/api/assets/{asset_id}", None) for asset_id in ids),
        *(("GET", f"/api/assets/{server.library.awkward(kind).id}", None) for kind in ("corrupt", "trashed")),
        ("GET", "/api/albums", None),
        ("GET", "/api/people?page=1&size=1", None),
        ("GET", "/api/libraries", None),
        ("GET", "/api/tags", None),
        ("GET", f"/api/tags/{leaf}", None),
        ("PUT", "/api/tags", {"tags": ["plain", "new"]}),
        ("POST", "/api/tags", {"name": "posted"}),
        ("PUT", "/api/tags/assets", {"assetIds": ids, "tagIds": [plain]}),
        ("PUT", f"/api/tags/{plain}/assets", {"ids": [ids[0]]}),
        ("DELETE", f"/api/tags/{plain}/assets", {"ids": ids[:2]}),
        ("GET", "/api/queues", None),
        ("GET", "/api/jobs", None),
    ]


@pytest.mark.parametrize("version", VERSIONS)
async def test_answers_fit_the_servers_own_openapi_document(version: str) -> None:
    said = document(version)
    components = as_json_schema(said["components"])
    async with running(draw_library(60), VERSIONS[version]) as (server, api):
        for method, path, body in await good_exchanges(server, api):
            answer = await api.call(method, path, body)
            assert answer.status in (200, 201), (method, path)
            described = said["paths"][template_of(path)][method.lower()]["responses"][str(answer.status)]
            schema = as_json_schema(described["content"]["application/json"]["schema"])
            problems = Draft202012Validator(schema | {"components": components}).iter_errors(answer.body)
            assert [f"{method} {path} {problem.json_path}: {problem.message}" for problem in problems] == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_permissions_are_those_of_the_openapi_document(version: str) -> None:
    paths = document(version)["paths"]
    async with running(draw_library(60), VERSIONS[version]) as (server, api):
        powerless = server.add_key([])
        for method, path, body in await good_exchanges(server, api):
            described = paths[template_of(path)][method.lower()]
            refused = await api.call(method, path, body, key=powerless)
            needed = described.get("x-immich-permission")
            assert (refused.status == 403) is (needed is not None), path
            if needed is not None:
                assert refused.body["message"] == f"Missing required permission: {needed}"
