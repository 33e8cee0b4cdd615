"""A look at the model: its files, and whether it opens on the device that the settings ask for."""

from autotagger.config import Settings
from autotagger.doctor.facts import ModelFacts
from autotagger.errors import Fatal, StartupFailed
from autotagger.tagger.catalog import Model, catalogue, find_model
from autotagger.tagger.memory import resident_bytes
from autotagger.tagger.session import Session, open_session

#: What `run` mends by itself: it fetches the files (again).
_FETCHABLE = ("model-missing", "model-damaged")


def look_at_model(
    settings: Settings, *, threads: int, open_it: bool
) -> tuple[ModelFacts, Model | None, Session | None]:
    """The facts, and where there is one, the model and its open session with `threads` streams."""
    name = settings.model.name
    try:
        model = find_model(name, settings.models_dir, download=False)
    except StartupFailed as error:
        source = known.source if (known := catalogue().get(name)) else None
        if source is None or error.kind not in _FETCHABLE:
            return ModelFacts(name, trouble=error), None, None
        sizes = [file.bytes for file in source.files.values()]
        download = sum(size for size in sizes if size) if all(sizes) else None
        return ModelFacts(name, to_download=True, download_bytes=download, trouble=error), None, None
    except Fatal as error:
        return ModelFacts(name, trouble=error), None, None
    if not open_it:
        return ModelFacts(model.name, labels=len(model.labels)), model, None
    before = resident_bytes()
    try:
        session = open_session(model, device=settings.model.device, streams=threads, threads=threads)
    except Fatal as error:
        return ModelFacts(model.name, labels=len(model.labels), session_trouble=error), model, None
    facts = ModelFacts(
        model.name,
        labels=len(model.labels),
        device=session.device,
        memory_bytes=max(0, resident_bytes() - before),
    )
    return facts, model, session
