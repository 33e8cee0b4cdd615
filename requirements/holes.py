"""Names what hashed lists pin of the packages whose holes we know of: `python holes.py LIST ...`, without network.

holes.csv is kept by hand: package, the first version without the hole, the day it was noted, why. Of a version
only the numbers count: 12.1.1.post0 of Pillow-SIMD is Pillow 12.1.1. Exit code 1: a list pins a version below.
"""

import csv
import re
import sys
from pathlib import Path


def numbers(version: str) -> tuple[int, ...]:
    """The release numbers of a version, without zeros at the end: 13 is 13.0.0."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    counted = [int(number) for number in found[0].split(".")] if found else []
    while counted and not counted[-1]:
        counted.pop()
    return tuple(counted)


def holes(listed: str, known: list[dict[str, str]]) -> list[str]:
    """A line for each pin in the text of a list that is below a known hole's fix."""
    pins = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", listed, re.MULTILINE)
    }
    found = []
    for hole in known:
        name, below = hole["package"], hole["below"]
        if name in pins and numbers(pins[name]) < numbers(below):
            found.append(f"{name} {pins[name]}: fixed in {below} ({hole['why']}; noted {hole['noted']})")
    return found


def main() -> int:
    """Print what was found; the exit code."""
    with Path(__file__).with_name("holes.csv").open(encoding="utf-8", newline="") as file:
        known = list(csv.DictReader(file))
    found = [line for path in sys.argv[1:] for line in holes(Path(path).read_text(encoding="utf-8"), known)]
    for line in dict.fromkeys(found):
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
