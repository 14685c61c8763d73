"""Runs that differ only in their seeds, and their means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, NamedTuple

from experiments.collect.runs import Run


class Mean(NamedTuple):
    """Of a measure over seeds."""

    mean: float
    error: float | None
    """Standard error; None for one seed."""
    seeds: int


class Point(NamedTuple):
    """Of a curve."""

    step: int
    seconds: float
    """Mean over the seeds, of all steps up to this one."""
    value: Mean


@dataclass
class Group:
    """Runs of one configuration.

    Args:
        system: the class of their task.
        runs: finished ones; unfinished ones if none is finished.
        label: what tells it from the others of its system.
    """

    system: str
    runs: list[Run]
    label: str = ""
    measures: tuple[str, ...] = ()
    finals: dict[str, Mean] = field(default_factory=dict)
    """Of the last figures, by measure; seconds among them. Empty where none is finished."""

    @property
    def finished(self) -> bool:
        """Whether its runs are."""
        return self.runs[0].state == "finished"

    def curve(self, measure: str) -> list[Point]:
        """Along the steps at which all runs have recorded the measure."""
        by_step = [{row["step"]: row for row in run.rows if row.get(measure) is not None} for run in self.runs]
        shared = sorted(set.intersection(*({*rows} for rows in by_step)))
        at = [(step, [rows[step] for rows in by_step]) for step in shared]
        return [
            Point(int(step), fmean(row["seconds"] for row in rows), mean([row[measure] for row in rows]))
            for step, rows in at
        ]


def mean(values: Sequence[Any]) -> Mean:
    """Mean and standard error; NaN where a value is not finite."""
    count = len(values)
    if not all(math.isfinite(value) for value in values):
        return Mean(math.nan, None, count)
    return Mean(fmean(values), stdev(values) / math.sqrt(count) if count > 1 else None, count)


def grouped(runs: Sequence[Run]) -> list[Group]:
    """The groups, system by system, labelled; notes what goes into no mean."""
    found: dict[tuple[Any, ...], Group] = {}
    for run in runs:
        if run.state == "left out":
            continue
        key = (run.system, tuple(sorted((name, repr(value)) for name, value in run.config.items())))
        group = found.setdefault(key, Group(run.system, [], measures=run.measures))
        twin = next((other for other in group.runs if (other.seed, other.state) == (run.seed, run.state)), None)
        if twin is not None:
            run.state, run.note = "left out", f"left out: {twin.folder} is the same run, with the same seed"
        else:
            group.runs.append(run)
    for group in found.values():
        if any(run.state == "finished" for run in group.runs):
            group.runs = [run for run in group.runs if run.state == "finished"]
            group.finals = dict(_finals(group))
    for system in {group.system for group in found.values()}:
        of_system = [group for group in found.values() if group.system == system]
        for group, label in zip(of_system, labels([group.runs[0].config for group in of_system]), strict=True):
            group.label = label or system.rpartition(".")[2]
    return sorted(found.values(), key=lambda group: group.system)


def _finals(group: Group) -> Iterator[tuple[str, Mean]]:
    for name in (*group.measures, "seconds"):
        values = [run.result.get(name) for run in group.runs]
        if all(value is not None for value in values):
            yield name, mean(values)


def labels(configs: Sequence[dict[str, Any]]) -> list[str]:
    """In few words what tells configurations from each other: as few of their values as do.

    >>> labels([{"estimator._target_": "dg.RLOO", "lr": 1}, {"estimator._target_": "dg.RLOO", "lr": 2}])
    ['lr=1', 'lr=2']
    """
    names = {name: None for config in configs for name in config}
    columns = {name: tuple(config.get(name) for config in configs) for name in names}
    # Classes first, then what all have; a copy of another column (task.model.x of model.x) never splits any further.
    order = sorted(
        names, key=lambda name: (not name.endswith("_target_"), None in columns[name], name.count("."), name)
    )
    chosen: list[str] = []
    parts = 1
    for name in order:
        split = len({tuple(map(repr, of)) for of in zip(*(columns[key] for key in (*chosen, name)), strict=True)})
        if split > parts:
            chosen, parts = [*chosen, name], split
    return [", ".join(_said(name, config[name]) for name in chosen if name in config) for config in configs]


def _said(name: str, value: Any) -> str:
    if name.endswith("._target_"):
        return str(value).rpartition(".")[2]
    return f"{name}={value}"
