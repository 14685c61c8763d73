"""Which runs there are, and what is kept of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from experiments.studies.trials import Row, cells, file_name, result_of
from experiments.studies.trials import composed as composed_of
from experiments.studies.trials import keep as keep_rows
from experiments.systems.cedet.judging import PREFIXES

ROWS = "cedet.csv"
"""In docs/."""
SCENES = {
    "structured": (),
    "shuffled": ("data.shuffle=true",),
    "atlanta": ("data.layouts=atlanta", "data.tiles=33"),  # the real tile is what is judged by
}
CASCADE, NEAREST = "cascade", "+ ICMM, nearest"
ABLATION = {
    CASCADE: ("arm=cascade",),
    "+ SGCM": ("arm=sgcm",),
    "+ segmentation loss": ("arm=segmentation",),
    NEAREST: ("arm=icmm",),
}
LEARNED = ("arm=learned", "estimator=disarm", "estimator.num_pairs=4")
EDGES = {
    "all pairs": ("arm=all",),
    "learned, DisARM(4 pairs)": LEARNED,
    "learned, DisARM(4 pairs), a third of the price": (*LEARNED, "task.price=0.001"),
    "learned, DisARM(4 pairs), three times the price": (*LEARNED, "task.price=0.009"),
    "learned, RLOO(8)": ("arm=learned", "estimator=rloo", "estimator.num_samples=8"),
    "learned, Gumbel-softmax(8)": ("arm=learned", "estimator=gumbel_softmax", "estimator.num_samples=8"),
    "learned, straight-through(8)": ("arm=learned", "estimator=straight_through", "estimator.num_samples=8"),
}
METHODS = ABLATION | EDGES
PARTS = {
    "ablation": [(scenes, method) for scenes in ("structured", "shuffled") for method in ABLATION],
    "edges": [("structured", method) for method in EDGES],
    "atlanta": [("atlanta", method) for method in (CASCADE, NEAREST, "learned, DisARM(4 pairs)")],
}
PRECISIONS = ("ap50", "ap75")
REAL = ("atlanta_ap50", "atlanta_ap75", "atlanta_ap50_low", "atlanta_ap50_high")
SHARES = tuple(f"{graph}edge_{share}" for graph in PREFIXES for share in ("precision", "block_share"))
GRAPH = ("edges", "nearest_edges", *SHARES)
RUN = ("scenes", "method", "seed")
COLUMNS = (*RUN, "step", "seconds", *PRECISIONS, *REAL, *GRAPH)


class Trial(NamedTuple):
    """One run."""

    scenes: str
    method: str
    seed: int

    @property
    def overrides(self) -> list[str]:
        """For `python -m experiments.train`."""
        return ["experiment=cedet", *SCENES[self.scenes], *METHODS[self.method], f"run.seed={self.seed}"]

    @property
    def folder(self) -> str:
        """Of the run, below that of the study."""
        return f"{self.scenes}-{file_name(self.method)}-seed{self.seed}"


def trials(parts: Sequence[str], seeds: Sequence[int]) -> Iterator[Trial]:
    """Seeds outermost."""
    for seed in seeds:
        yield from (Trial(*each, seed) for part in parts for each in PARTS[part])


def composed(trial: Trial, arguments: Sequence[str], root: Path, steps: int) -> DictConfig:
    """The configuration of a run, in a folder of its own below `root`."""
    own = [*trial.overrides, f"run.steps={steps}", f"run.dir={root / trial.folder}", "run.progress=false"]
    return composed_of([*own, "resume=auto", *arguments])


def carry_out(trial: Trial, config: DictConfig) -> Row:
    """Train, unless that is done; a row of what was found in the end.

    Raises:
        UserError, Interrupted: see `train`.
    """
    return cells(trial._asdict() | result_of(config), COLUMNS)


def keep(row: Row, path: Path) -> None:
    """Put a row into a CSV file, in the place of that of the same run."""

    def place(row: Row) -> tuple[int, int, int]:
        return [*SCENES].index(row["scenes"]), [*METHODS].index(row["method"]), int(row["seed"])

    keep_rows([row], path, COLUMNS, lambda row: tuple(row[name] for name in RUN), place)
