"""Downloads, against a small server that speaks the hub's protocol over a real socket."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import huggingface_hub.constants
import pytest

from autotagger.errors import StartupFailed
from autotagger.tagger import catalog, hub
from autotagger.tagger.catalog import find_model
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.manifest import Source
from tests.tagger.support import WD_CSV, tiny_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"model.onnx": tiny_model().SerializeToString(), "selected_tags.csv": WD_CSV.encode()}


class Hub(ThreadingHTTPServer):
    """`served` can be damaged; the next `breaks` bodies end in the middle, the next `garbles` have a byte wrong;
    `status` is answered to everything."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.served = dict(FILES)
        self.breaks = 0
        self.garbles = 0
        self.status = 200
        self.seen: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        self.server.seen[self.command] += 1
        found = re.fullmatch(r"/someone/tiny/resolve/(\w+)/(.+)", self.path)
        if self.server.status != 200:
            return self.head(self.server.status, 0, {})
        if found is None or found[2] not in self.server.served:
            return self.head(404, 0, {"X-Error-Code": "EntryNotFound" if found else "RepoNotFound"})
        body = self.server.served[found[2]]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        etag = hashlib.sha256(body).hexdigest()
        self.head(206 if start else 200, len(body) - start, {
            "X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes",
            **({"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}),
        })  # fmt: skip
        if with_body and self.server.breaks:
            self.server.breaks -= 1
            self.wfile.write(body[start : start + 100])
            self.close_connection = True
        elif with_body and self.server.garbles:
            self.server.garbles -= 1
            self.wfile.write(body[start:-1] + b"?")
        elif with_body:
            self.server.seen["resumed"] += start > 0
            self.wfile.write(body[start:])
        return None

    def head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent."""


@pytest.fixture
def server() -> Iterator[Hub]:
    with Hub() as hub_server:
        thread = threading.Thread(target=hub_server.serve_forever, args=(0.01,))
        thread.start()
        yield hub_server
        hub_server.shutdown()
        thread.join()


def use(server_url: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """What HF_ENDPOINT and HF_HOME do at import, done afterwards."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server_url)
    template = server_url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


class Bench(NamedTuple):
    server: Hub
    models: Path

    @property
    def folder(self) -> Path:
        return self.models / "tiny"

    def left_over(self) -> list[str]:
        return sorted(path.name for path in self.models.iterdir()) if self.models.exists() else []


@pytest.fixture
def bench(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    use(server.url, monkeypatch, tmp_path / "cache")
    return Bench(server, tmp_path / "state" / "models")


def source(**changed: Any) -> Source:
    files = {
        name: {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in FILES.items()
    }
    return Source.model_validate({"repo": "someone/tiny", "revision": COMMIT, "files": files, **changed})


def manifest_text() -> str:
    lines = ['name = "tiny"', "[source]", 'repo = "someone/tiny"', f'revision = "{COMMIT}"']
    for name, file in source().files.items():
        lines += [f'[source.files."{name}"]', f"bytes = {file.bytes}", f'sha256 = "{file.sha256}"']
    return "\n".join(lines)


@pytest.fixture
def catalogued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "tiny.toml").write_text(manifest_text())
    monkeypatch.setattr(catalog, "CATALOGUE", tmp_path / "catalogue")


def failure(bench: Bench, wanted: Source | None = None) -> StartupFailed:
    with pytest.raises(StartupFailed) as caught:
        hub.pull("tiny", wanted or source(), bench.folder)
    assert "\n" not in caught.value.message
    assert bench.left_over() == []
    return caught.value


@pytest.mark.usefixtures("catalogued")
def test_a_catalogue_model_is_fetched_once_and_runs(bench: Bench) -> None:
    model = find_model("tiny", bench.models, download=True)
    assert open_session(model, device="CPU").label_count == 3
    assert sorted(path.name for path in bench.folder.iterdir()) == sorted(FILES)
    assert bench.left_over() == ["tiny"]
    asked = bench.server.seen.total()
    assert find_model("tiny", bench.models, download=True).identity == model.identity
    assert find_model("tiny", bench.models, download=False).identity == model.identity
    assert bench.server.seen.total() == asked


@pytest.mark.usefixtures("catalogued")
@pytest.mark.parametrize("file", FILES)
def test_a_file_that_was_damaged_later_is_noticed_and_fetched_again(bench: Bench, file: str) -> None:
    find_model("tiny", bench.models, download=True)
    path = bench.folder / file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StartupFailed, match=f"{file} is not the one of someone/tiny at 0123456789ab") as caught:
        find_model("tiny", bench.models, download=False)
    assert caught.value.kind == "model-damaged"
    find_model("tiny", bench.models, download=True)
    assert path.read_bytes() == FILES[file]
    assert bench.left_over() == ["tiny"]


@pytest.mark.usefixtures("catalogued")
def test_a_failed_repair_leaves_what_was_there(bench: Bench) -> None:
    find_model("tiny", bench.models, download=True)
    (bench.folder / "selected_tags.csv").write_text("mine")
    bench.server.status = 403
    with pytest.raises(StartupFailed, match="the hub answered 403"):
        find_model("tiny", bench.models, download=True)
    assert (bench.folder / "selected_tags.csv").read_text() == "mine"
    assert bench.left_over() == ["tiny"]


@pytest.mark.parametrize("content", [FILES["model.onnx"][:-1] + b"?", b"shorter", b""])
def test_a_download_that_is_not_what_was_pinned_is_refused(bench: Bench, content: bytes) -> None:
    bench.server.served["model.onnx"] = content
    error = failure(bench)
    assert "SHA-256" in error.message
    assert error.kind == "model-damaged"


def test_a_connection_that_breaks_is_resumed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 50)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    bench.server.breaks = 1
    hub.pull("tiny", source(), bench.folder)
    assert bench.server.seen["resumed"] == 1
    assert (bench.folder / "model.onnx").read_bytes() == FILES["model.onnx"]


def test_a_file_that_came_damaged_is_fetched_once_more(bench: Bench) -> None:
    bench.server.garbles = 1
    hub.pull("tiny", source(), bench.folder)
    assert (bench.folder / "model.onnx").read_bytes() == FILES["model.onnx"]
    assert not bench.server.garbles


def test_a_file_in_a_folder_of_the_repository_lands_beside_the_others(bench: Bench) -> None:
    bench.server.served["v1_02/weights.onnx"] = bench.server.served.pop("model.onnx")
    files = source().model_dump()["files"]
    files["model.onnx"]["path"] = "v1_02/weights.onnx"
    hub.pull("tiny", source(files=files), bench.folder)
    assert (bench.folder / "model.onnx").read_bytes() == FILES["model.onnx"]
    assert sorted(path.name for path in bench.folder.rglob("*") if path.is_file()) == sorted(FILES)


def unpinned() -> Source:
    return source(files={name: {} for name in FILES})


def test_a_hash_that_nobody_published_is_kept_and_holds(bench: Bench) -> None:
    hub.pull("tiny", unpinned(), bench.folder)
    sums = (bench.folder / "SHA256SUMS").read_text()
    assert sums == "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in sorted(FILES.items()))
    hub.verify(unpinned(), bench.folder)
    path = bench.folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StartupFailed, match=r"model\.onnx is not the one that was first fetched") as caught:
        hub.verify(unpinned(), bench.folder)
    assert caught.value.kind == "model-damaged"
    hub.pull("tiny", unpinned(), bench.folder)
    assert (bench.folder / "SHA256SUMS").read_text() == sums
    assert path.read_bytes() == FILES["model.onnx"]


def test_what_a_branch_holds_later_is_not_taken_in_silence(bench: Bench) -> None:
    hub.pull("tiny", unpinned(), bench.folder)
    (bench.folder / "model.onnx").unlink()
    bench.server.served["model.onnx"] = b"another model"
    with pytest.raises(StartupFailed, match="is not the one that was first fetched"):
        hub.pull("tiny", unpinned(), bench.folder)
    assert bench.left_over() == ["tiny"]


def test_files_put_there_by_hand_are_taken_down_the_first_time(tmp_path: Path) -> None:
    for name, body in FILES.items():
        (tmp_path / name).write_bytes(body)
    hub.verify(unpinned(), tmp_path)
    (tmp_path / "selected_tags.csv").write_text("name,category\nother,0\n")
    with pytest.raises(StartupFailed, match="is not the one that was first fetched"):
        hub.verify(unpinned(), tmp_path)


def test_a_size_alone_is_held_against_the_file_too(bench: Bench) -> None:
    sized = source(files={name: {"bytes": len(body) + 1} for name, body in FILES.items()})
    assert failure(bench, sized).kind == "model-damaged"


@pytest.mark.parametrize("status", [401, 403])
def test_a_model_behind_terms_says_what_to_do(bench: Bench, status: int) -> None:
    bench.server.status = status
    assert (
        "accept the author's terms on the model's page where it has any, and set HF_TOKEN"
        in failure(bench).message
    )


def test_a_repository_that_is_not_there(bench: Bench) -> None:
    assert "the hub answered 404" in failure(bench, source(repo="someone/else")).message


def test_a_file_that_is_not_there(bench: Bench) -> None:
    del bench.server.served["selected_tags.csv"]
    assert "the hub answered 404" in failure(bench).message


def test_a_hub_that_cannot_be_reached(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.file_download, "_ETAG_RETRY_TIMEOUT", 0.1)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    use("http://127.0.0.1:9", monkeypatch, tmp_path / "cache")
    error = failure(bench)
    assert "the hub cannot be reached; check network and HF_ENDPOINT" in error.message
    assert f"or put its files into {bench.folder} by hand" in error.message


def test_a_disk_without_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5 << 20))
    error = failure(bench)
    assert re.search(r"no room for the model tiny: 64 MB are needed in .*, 5 MB are free", error.message)
    assert error.kind == "disk-full"
    assert not bench.server.seen


def test_a_place_that_cannot_be_written(bench: Bench) -> None:
    bench.models.parent.mkdir(parents=True)
    bench.models.write_text("a file, not a folder")
    with pytest.raises(StartupFailed, match=r"cannot download the model tiny .*File exists"):
        hub.pull("tiny", source(), bench.folder)


def pull_in_a_new_process(bench: Bench, **environ: str) -> subprocess.CompletedProcess[str]:
    program = """
import sys
from pathlib import Path
from autotagger.errors import StartupFailed
from autotagger.tagger import hub
from autotagger.tagger.manifest import Source
try:
    hub.pull("tiny", Source.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
except StartupFailed as error:
    sys.exit(error.message)
"""
    command = [sys.executable, "-c", program, source().model_dump_json(), str(bench.folder)]
    environ = {**os.environ, "HF_HOME": str(bench.models.parent / "home"), **environ}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_hf_endpoint_is_honoured_and_nothing_is_said(bench: Bench) -> None:
    ran = pull_in_a_new_process(bench, HF_ENDPOINT=bench.server.url)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert bench.left_over() == ["tiny"]


def test_offline_mode_is_honoured(bench: Bench) -> None:
    ran = pull_in_a_new_process(bench, HF_ENDPOINT=bench.server.url, HF_HUB_OFFLINE="1")
    assert ran.returncode == 1
    assert "HF_HUB_OFFLINE forbids it; unset it, or put its files into" in ran.stderr
    assert not bench.server.seen
