"""The contract of an engine: prepared pictures in, scores out. No runtime is imported here."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Device = Literal["auto", "CPU", "GPU", "NPU"]


class Session(Protocol):
    """A model that is ready to score. `device`: the one that really runs; `label_count`: scores per picture."""

    device: str
    label_count: int

    def scores(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score `pictures`, shape (n, *InputSpec.shape), as `prepare` makes them. Returns (n, labels), 0..1.

        Callable from several threads at once. Raises AssetFailed `bad-scores` when a score is not a number
        (give one picture at a time where it must be known which), Retryable when the device failed.
        """

    def prove(self) -> None:
        """Score one white picture, where that was put off: a model that cannot do that cannot do anything.

        Until this has returned no score is to be believed. Raises StartupFailed.
        """
