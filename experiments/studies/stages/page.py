"""The files that are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.studies import page

COLUMNS = ("step", "estimator", "origin", "evaluations", "variance", "error", "squared_bias", "time", "nats", "signal")
TEMPLATE = Path(__file__).parent / "page.md.j2"
Lines = Sequence[Mapping[str, str]]


def write(lines: Lines, folder: Path, learn: int, images: int) -> None:
    """Both files, in the order of the steps.

    Args:
        lines: of the CSV file.
        folder: to write to.
        learn: the steps that modules had which the run had not learned.
        images: how many were measured on.
    """
    lines = sorted(lines, key=lambda line: int(line["step"]))
    text = page.render(
        TEMPLATE,
        steps=list(dict.fromkeys(line["step"] for line in lines)),
        bases=[line for line in lines if line["estimator"] == "RLOO(2)"],
        sections=[_section([line for line in lines if line["evaluations"] == count], count) for count in "248"],
        learn=learn,
        images=images,
    )
    folder.mkdir(parents=True, exist_ok=True)
    page.write(folder / "stages", text, {"stages": (COLUMNS, lines)})


def _section(lines: Lines, evaluations: str) -> dict[str, Any]:
    """Of one number of evaluations: each estimator's lines, the best last stage first, biased ones behind."""
    stages: dict[str, list[Mapping[str, str]]] = {}
    steps: dict[str, list[Mapping[str, str]]] = {}
    for line in lines:
        stages.setdefault(line["estimator"], []).append(line)
        steps.setdefault(line["step"], []).append(line)
    return {
        "evaluations": evaluations,
        "estimators": sorted(stages.values(), key=lambda s: (s[0]["origin"] == "biased", float(s[-1]["variance"]))),
        "verdicts": [_verdict(of_step) for of_step in steps.values()],
    }


def _verdict(lines: Lines) -> dict[str, Any]:
    """Of one step, the best of the unbiased ones that are ours over the best published."""
    ours, published = (
        min((line for line in lines if line["origin"] == origin), key=lambda line: float(line["variance"]))
        for origin in ("ours", "published")
    )
    ratio = float(published["variance"]) / float(ours["variance"])
    relative = sum((float(line["error"]) / float(line["variance"])) ** 2 for line in (ours, published)) ** 0.5
    return {
        "step": ours["step"],
        "ours": ours["estimator"],
        "published": published["estimator"],
        "ratio": ratio,
        "error": ratio * relative,
        "pace": float(ours["time"]) / float(published["time"]),
    }
