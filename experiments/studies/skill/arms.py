"""Language models that have read the graph, or have not, and what they then answer without it: which runs there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from experiments.parts.templates import SPLITS
from experiments.studies.trials import Row, cells, result_of
from experiments.studies.trials import composed as composed_of
from experiments.studies.trials import keep as keep_rows

ROWS = "skill_arms.csv"
"""In docs/."""
START = "start"
LEARNED = ("text", "triples", "sentences")
"""What a model goes on with from the start, in as many steps."""
ARMS = (START, *LEARNED)
PARTS = ("held_out", "reworded", "majority")
SHARES = tuple(f"{part}_{hops}" for part in PARTS for hops in (1, 2, 3))
RUN = ("split", "arm", "seed")
COLUMNS = (*RUN, "read_steps", "held_out_loss", "known", "read_seconds", "asked_steps", *SHARES, "asked_seconds")


class Trial(NamedTuple):
    """One run: a language model that reads, or, with a split, that is asked."""

    arm: str
    seed: int
    split: str = ""

    @property
    def reading(self) -> Trial:
        """The run that the model has read in."""
        return self._replace(split="")

    def folder(self, root: Path) -> Path:
        """Of the run."""
        return root / (f"answers-{self.split}" if self.split else "read") / f"{self.arm}-seed{self.seed}"

    def overrides(self, root: Path) -> list[str]:
        """For `python -m experiments.train`, with its folder below `root`."""
        own = [f"run.dir={self.folder(root)}", f"run.seed={self.seed}"]
        if self.split:
            start = [f"model.start={self.reading.folder(root)}"]
            return ["experiment=skill_answers", *own, *start, f"data.split={self.split}"]
        if self.arm == START:
            return ["experiment=skill_pretraining", *own, "arm=text"]
        start = [f"model.start={Trial(START, self.seed).folder(root)}"]
        return ["experiment=skill_pretraining", *own, *start, f"arm={self.arm}"]


def trials(seeds: Sequence[int], splits: Sequence[str] = SPLITS) -> Iterator[Trial]:
    """All that are asked, seeds outermost."""
    return (Trial(arm, seed, split) for seed in seeds for split in splits for arm in ARMS)


def composed(trial: Trial, arguments: Sequence[str], root: Path) -> DictConfig:
    """The configuration of a run; what the user gives is given to all."""
    return composed_of([*trial.overrides(root), "run.progress=false", "resume=auto", *arguments])


def carry_out(trial: Trial, arguments: Sequence[str], root: Path) -> Row:
    """Read, from the start, and answer, all unless it is done; the row.

    Raises:
        UserError, Interrupted: see `train`.
    """
    if trial.arm != START:
        result_of(composed(Trial(START, trial.seed), arguments, root))
    read = result_of(composed(trial.reading, arguments, root))
    asked = result_of(composed(trial, arguments, root))
    steps = {"read_steps": read["step"], "asked_steps": asked["step"]}
    seconds = {"read_seconds": read["seconds"], "asked_seconds": asked["seconds"]}
    return cells(read | asked | trial._asdict() | steps | seconds, COLUMNS, digits=4)


def keep(row: Row, path: Path) -> None:
    """Put a row into a CSV file, in the place of that of the same run."""
    keep_rows([row], path, COLUMNS, lambda other: tuple(other[name] for name in RUN), _place)


def _place(row: Row) -> tuple[int, int, int]:
    return SPLITS.index(row["split"]), ARMS.index(row["arm"]), int(row["seed"])
