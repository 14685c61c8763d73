"""Which runs there are, and what is kept of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from experiments.studies.trials import Row, cells, file_name, result_of
from experiments.studies.trials import composed as composed_of
from experiments.studies.trials import keep as keep_rows
from experiments.systems.crobim.judging import measures
from experiments.train import build

ROWS = "crobim.csv"
"""In docs/."""
WINDOW = ("model.glimpses=1",)
METHODS: dict[str, tuple[str, ...]] = {
    "base": ("model.prompts=0", "model.guided=false", "model.layers=0"),
    "+ CAPM": ("model.guided=false", "model.layers=0"),
    "+ LGFA": ("model.layers=0",),
    "+ MID": (),
    "window, DisARM-Tree": (*WINDOW, "estimator=disarm_tree"),
    "window, RLOO(2)": (*WINDOW, "estimator=rloo"),
    "window, Flow": (*WINDOW, "estimator=flow"),
    "window, local expectation": (*WINDOW, "estimator=local_expectation"),
    "window, soft": (*WINDOW, "model.look=soft"),
}
"""Each part of the paper is added to those before; windows to all of them."""
RUN = ("data", "method", "steps", "seed")
FIGURES = (*measures(closer=True), "sentinel_west_miou", "sentinel_east_miou")
COLUMNS = (*RUN, "multiply_adds", "seconds", *FIGURES)
"""Multiply-adds are millions, of one image that is served."""


class Trial(NamedTuple):
    """One run."""

    method: str
    seed: int


def trials(methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Trial]:
    """Seeds outermost."""
    for seed in seeds:
        yield from (Trial(method, seed) for method in methods)


def composed(trial: Trial, arguments: Sequence[str], root: Path) -> DictConfig:
    """The configuration of a run, in a folder of its own below `root` and the data's name."""
    data = next((each.removeprefix("data=") for each in arguments if each.startswith("data=")), "referring")
    folder = root / data / f"{file_name(trial.method)}-seed{trial.seed}"
    own = ["experiment=crobim", *METHODS[trial.method], f"run.seed={trial.seed}", "run.progress=false", "resume=auto"]
    return composed_of([*own, f"run.dir={folder}", *arguments])


def carry_out(trial: Trial, config: DictConfig) -> Row:
    """Train, unless that is done; the row.

    Raises:
        UserError, Interrupted: see `train`.
    """
    values = trial._asdict() | {"data": Path(config.run.dir).parent.name, "steps": config.run.steps}
    return cells(values | result_of(config) | {"multiply_adds": multiply_adds(config)}, COLUMNS)


def multiply_adds(config: DictConfig) -> float:
    """Millions of multiply-adds of matrix products and convolutions, for one image that is served."""
    run = build(config)
    task: Any = run.task.eval().requires_grad_(False)  # not no_grad: see findings/flop_counter_under_no_grad.sh
    batch = task.test_stock.take([0], torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        task.model(batch.images, batch.words)
    return counter.get_total_flops() / 2e6


def keep(rows: Sequence[Row], path: Path) -> None:
    """Put rows into a CSV file, in the place of those of the same runs."""
    keep_rows(rows, path, COLUMNS, lambda row: tuple(row[name] for name in RUN))
