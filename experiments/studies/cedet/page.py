"""The page: what each module gains, which edges are kept, and what is found on real pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.collect.groups import mean
from experiments.errors import UserError
from experiments.studies import page
from experiments.studies.cedet.runs import ABLATION, CASCADE, EDGES, GRAPH, METHODS, NEAREST, PRECISIONS, ROWS, SCENES
from experiments.studies.trials import Row, read

Lines = list[dict[str, str]]
GRAPHS = (NEAREST, *EDGES)
WANTED = {"structured": 2.0, "shuffled": 1.0}
"""Hundredths of AP50: at least so much more than the cascade where there is a layout, less where there is none."""


def write(out: Path) -> None:
    """Write the page of all rows that there are.

    Raises:
        UserError: where there are none.
    """
    rows = read(out / ROWS)
    if not rows:
        raise UserError(f"{out / ROWS} holds no rows yet; measure first, by the part runs.")
    text = page.render(
        Path(__file__).with_name("page.md.j2"),
        steps=", ".join(sorted({row["step"] for row in rows}, key=int)),
        ablation={scenes: ablation(rows, scenes) for scenes in ("structured", "shuffled")},
        gains=[line for scenes in WANTED for line in gain(rows, scenes)],
        edges=edges(rows),
        atlanta=atlanta(rows),
    )
    page.put(out / "cedet.md", text)


def ablation(rows: Sequence[Row], scenes: str) -> Lines:
    """By method, average precision, and what it gains on the cascade's run of the same seed."""
    found = []
    for method in ABLATION:
        own = _runs(rows, scenes, method)
        if own:
            line = {"method": method, "seeds": str(len(own))}
            for name in ("ap50", "ap75"):
                line |= {name: page.over(own, name), f"{name}_gain": _gain(rows, scenes, method, name) or "-"}
            found.append(line)
    return found


def gain(rows: Sequence[Row], scenes: str) -> Lines:
    """What all modules together gain on the cascade, against what was wanted; nothing before there are both."""
    value = _gain(rows, scenes, NEAREST, "ap50")
    if value is None:
        return []
    wanted, points = WANTED[scenes], _differences(rows, scenes, NEAREST, "ap50")
    average = mean(points).mean
    reached = average >= wanted if scenes == "structured" else average < wanted
    sentence = f"at least {wanted:g}" if scenes == "structured" else f"less than {wanted:g}"
    return [{"scenes": scenes, "gain": value, "wanted": sentence, "reached": "yes" if reached else "no"}]


def edges(rows: Sequence[Row]) -> Lines:
    """By graph, average precision, edges of an image, and which share of them is within a block."""
    found = []
    for method in GRAPHS:
        own = _runs(rows, "structured", method)
        if own:
            line = {"method": method, "seeds": str(len(own))}
            found.append(line | {name: page.over(own, name) for name in (*PRECISIONS, *GRAPH)})
    return found


def atlanta(rows: Sequence[Row]) -> Lines:
    """By what was trained on and method, on the real tile; its interval is the mean of those of the runs."""
    found = []
    for scenes in SCENES:
        for method in METHODS:
            own = _runs(rows, scenes, method)
            if own:
                ends = [[float(row[f"atlanta_ap50_{end}"]) for row in own] for end in ("low", "high")]
                interval = " to ".join(f"{mean(end).mean:.3g}" for end in ends)
                line = {"scenes": scenes, "method": method, "seeds": str(len(own)), "interval": interval}
                found.append(line | {name: page.over(own, f"atlanta_{name}") for name in ("ap50", "ap75")})
    return found


def _runs(rows: Sequence[Row], scenes: str, method: str) -> list[Row]:
    return [row for row in rows if (row["scenes"], row["method"]) == (scenes, method)]


def _differences(rows: Sequence[Row], scenes: str, method: str, name: str) -> list[float]:
    base = {row["seed"]: float(row[name]) for row in _runs(rows, scenes, CASCADE)}
    return [float(row[name]) - base[row["seed"]] for row in _runs(rows, scenes, method) if row["seed"] in base]


def _gain(rows: Sequence[Row], scenes: str, method: str, name: str) -> str | None:
    points = _differences(rows, scenes, method, name)
    if method == CASCADE or not points:
        return None
    return page.average(points)
