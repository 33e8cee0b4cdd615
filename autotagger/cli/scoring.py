"""One local file to its scores, the same way as the service comes by those of an asset."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from autotagger.errors import AssetFailed
from autotagger.settings import Settings

if TYPE_CHECKING:
    from autotagger.pipeline.decider import TagDecider
    from autotagger.scores import SparseScores


def open_scorer(settings: Settings) -> tuple["TagDecider", Callable[[Path], "SparseScores"]]:
    """What decides by the settings, and what scores a picture, video or animation with their model.

    Raises BadConfig or StartupFailed for the model; what it returns, AssetFailed and Retryable for a file.
    """
    import numpy as np

    from autotagger.pipeline.decider import TagDecider
    from autotagger.scores import pack, unpack
    from autotagger.tagger.catalog import find_model
    from autotagger.tagger.combine import combined, mean_rows
    from autotagger.tagger.engine.openvino import open_session
    from autotagger.tagger.preprocess import prepare_image
    from autotagger.tagger.video import frames_of

    model = find_model(settings.model.name, settings.models_dir, download=True)
    decider, video = TagDecider.of_model(model, settings), settings.video
    averaged = mean_rows([label.category for label in model.labels], video.combine)
    # Files come one after another: all cores work on one.
    session = open_session(model, device=settings.model.device, streams=1)

    def score(file: Path) -> "SparseScores":
        try:
            with file.open("rb") as opened:
                frames = frames_of(opened, video.frames, timeout_s=video.timeout_s)
        except OSError as error:
            raise AssetFailed(f"cannot be read: {error.strerror}", kind="unreadable") from None
        pictures = [prepare_image(frame, model.manifest.input) for frame in frames]
        scores, seen = combined([session.scores(picture[np.newaxis])[0] for picture in pictures], averaged)
        # Packed as in the ledger: the service's tags come from scores that went through it.
        return unpack(pack(scores, decider.policy.always, frames=len(frames), seen=seen))

    return decider, score
