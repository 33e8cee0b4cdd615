"""The label file of the workload models, and scores as a real model's: most near 0, some hundred above 0.05.

How many labels a picture scores on decides what packing, policy and ledger cost.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: As in the WD v3 models: four ratings first, and one label in four a character.
RATINGS = ("general", "sensitive", "questionable", "explicit")
CHARACTER_SHARE = 2_751 / 10_861
#: Labels that score above 0.05 in a WD v3 model, and those of them above the threshold of 0.35.
SCORING, TAGGED = 100, 30


def write_labels(path: Path, count: int) -> None:
    """Write `count` labels in WD v3's format."""
    characters = round(count * CHARACTER_SHARE)
    general = count - len(RATINGS) - characters
    rows = [f"{9999999 - place},{name},9,0" for place, name in enumerate(RATINGS)]
    rows += [f"{place},made_up_tag_{place:05},0,1" for place in range(general)]
    rows += [f"{general + place},made_up_person_{place:05},4,1" for place in range(characters)]
    path.write_text("\n".join(["tag_id,name,category,count", *rows]) + "\n", encoding="utf-8")


def bias(count: int) -> NDArray[np.float32]:
    """Logits that a model adds to what little it sees: (count,)."""
    source = np.random.default_rng(2)
    logits = np.full(count, -8.0, np.float32)
    scoring = source.permutation(np.arange(len(RATINGS), count))[: min(SCORING, count // 4)]
    logits[scoring] = source.uniform(-2.5, -1.5, len(scoring))
    logits[scoring[:TAGGED]] = source.uniform(0.5, 2.5, len(scoring[:TAGGED]))
    logits[: len(RATINGS)] = (1.0, -1.0, -3.0, -4.0)
    return logits
