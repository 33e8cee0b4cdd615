"""A look at the model: its files, and whether it opens on the device that the settings ask for."""

from dataclasses import replace

from autotagger.doctor.facts import ModelFacts
from autotagger.errors import Fatal, StartupFailed
from autotagger.memory import resident_bytes
from autotagger.settings import Settings
from autotagger.tagger.catalog import catalogue, find_model
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.engine.protocol import Session
from autotagger.tagger.model import Model

#: What `run` fixes by itself: it downloads the files (again).
_FETCHABLE = ("model-missing", "model-damaged")


def look_at_model(settings: Settings) -> tuple[ModelFacts, Model | None]:
    """What is known without opening it, and the model itself where it is there."""
    name = settings.model.name
    try:
        model = find_model(name, settings.models_dir, download=False)
    except StartupFailed as error:
        source = known.source if (known := catalogue().get(name)) else None
        if source is None or error.kind not in _FETCHABLE:
            return ModelFacts(name, trouble=error), None
        sizes = [file.bytes for file in source.files.values()]
        download = sum(size for size in sizes if size) if all(sizes) else None
        return ModelFacts(name, to_download=True, download_bytes=download, trouble=error), None
    except Fatal as error:
        return ModelFacts(name, trouble=error), None
    return ModelFacts(model.name, labels=len(model.labels)), model


def open_model(
    facts: ModelFacts, model: Model, settings: Settings, *, streams: int, threads: int
) -> tuple[ModelFacts, Session | None]:
    """`facts` with what opening the model showed, and its session where it opened."""
    before = resident_bytes()
    try:
        session = open_session(model, device=settings.model.device, streams=streams, threads=threads)
    except Fatal as error:
        return replace(facts, session_trouble=error), None
    return replace(facts, device=session.device, memory_bytes=max(0, resident_bytes() - before)), session
