"""Draws docs/performance.svg from the files in docs/measured. `python -m tests.benchmarks.plot`

fp32.json, int8.json: what `autotagger bench --json` said of the two shapes of wd-vit; growth.json: what
`tests.benchmarks.growth` said. Nothing but the standard library.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

DOCS = Path(__file__).resolve().parents[2] / "docs"
WIDTH, LEFT, RIGHT, BAR, STEP = 820, 230, 110, 16, 26
STAGES = ("inference", "decode", "writer", "fetcher", "supervisor", "inferencer")
COLOURS = ("#4c78a8", "#72b7b2", "#e45756", "#f58518", "#eeca3b", "#b279a2")


class Drawing:
    """Panels of horizontal bars, one below the other."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._y = 10

    def title(self, text: str) -> None:
        self._y += 24
        self._text(10, self._y, text, weight="bold")
        self._y += 10

    def bar(self, name: str, parts: Sequence[tuple[float, str]], told: str, *, scale: float) -> float:
        """A bar of parts (value, colour) end to end, `scale` being the whole width. Returns its middle."""
        self._text(LEFT - 8, self._y + BAR - 4, name, anchor="end")
        x = float(LEFT)
        for value, colour in parts:
            wide = self._length(value, scale)
            self._parts.append(
                f'<rect x="{x:.1f}" y="{self._y}" width="{wide:.1f}" height="{BAR}" fill="{colour}"/>'
            )
            x += wide
        self._text(WIDTH - RIGHT + 8, self._y + BAR - 4, told)
        middle = self._y + BAR / 2
        self._y += STEP
        return middle

    def spread(self, y: float, least: float, most: float, *, scale: float) -> None:
        ends = [LEFT + self._length(value, scale) for value in (least, most)]
        self._parts.append(f'<path d="M{ends[0]:.1f} {y:.1f}H{ends[1]:.1f}" stroke="#333" stroke-width="2"/>')

    def mark(self, y: float, value: float, *, scale: float) -> None:
        x = LEFT + self._length(value, scale)
        self._parts.append(f'<path d="M{x:.1f} {y - 11:.1f}V{y + 11:.1f}" stroke="#333" stroke-dasharray="3 2"/>')

    def legend(self, entries: Iterable[tuple[str, str]]) -> None:
        x = float(LEFT)
        for name, colour in entries:
            self._parts.append(f'<rect x="{x:.1f}" y="{self._y}" width="10" height="10" fill="{colour}"/>')
            self._text(x + 14, self._y + 9, name)
            x += 24 + 7 * len(name)
        self._y += STEP

    def svg(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._y + 10}" '
            'font-family="sans-serif" font-size="12">'
        )
        return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *self._parts, "</svg>"]) + "\n"

    def _length(self, value: float, scale: float) -> float:
        return (WIDTH - LEFT - RIGHT) * min(value / scale, 1.0)  # what goes further is in the table

    def _text(self, x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> None:
        self._parts.append(
            f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
        )


def ratios(drawing: Drawing, measured: dict[str, Any]) -> None:
    drawing.title("Pictures a second, as a share of what the part alone can do (line: spread; dashes: wanted)")
    rows: Iterator[tuple[str, dict[str, Any], str, float]] = iter(
        [
            ("FP32: pipeline / bare session", measured["fp32"], "ratio", 0.97),
            ("INT8: pipeline / bare session", measured["int8"], "ratio", 0.95),
            ("instant model / decoding alone", measured["int8"], "instant_ratio", 0.90),
        ]
    )
    for name, of, figure, wanted in rows:
        y = drawing.bar(name, [(of[figure], COLOURS[0])], f"{of[figure]:.2f}", scale=1.3)
        drawing.spread(y, *of[f"{figure}_spread"], scale=1.3)
        drawing.mark(y, wanted, scale=1.3)


def costs(drawing: Drawing, measured: dict[str, Any]) -> None:
    drawing.title("Where a picture's CPU time goes, in shares of autotagger's own")
    for name, stages in (
        ("FP32", measured["fp32"]["cpu_ms"]),
        ("INT8", measured["int8"]["cpu_ms"]),
        ("instant model", measured["int8"]["instant_cpu_ms"]),
    ):
        total = sum(stages[stage] for stage in STAGES)
        parts = [(stages[stage] / total, colour) for stage, colour in zip(STAGES, COLOURS, strict=True)]
        drawing.bar(name, parts, f"{total:,.0f} ms", scale=1.0)
    drawing.legend(zip(STAGES, COLOURS, strict=True))


def growth(drawing: Drawing, measured: dict[str, Any]) -> None:
    drawing.title("CPU time of an asset as the library grows, inference and decoding of the run left out")
    rows = measured["growth"]["growth"]
    phases = {"own_ms": "tagged", "again_ms": "listed again", "verify_ms": "verified", "retag_ms": "retagged"}
    scale = max(row.get(phase, 0.0) for row in rows for phase in phases)
    for (phase, name), colour in zip(phases.items(), COLOURS, strict=False):
        for row in (row for row in rows if phase in row):
            drawing.bar(
                f"{name}, {row['assets']:,} assets", [(row[phase], colour)], f"{row[phase]:.2f} ms", scale=scale
            )


def main() -> None:
    measured = {path.stem: json.loads(path.read_text()) for path in (DOCS / "measured").glob("*.json")}
    drawing = Drawing()
    for panel in (ratios, costs, growth):
        panel(drawing, measured)
    (DOCS / "performance.svg").write_text(drawing.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
