"""Which runs there are, and what is kept of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from experiments.studies.trials import cells, result_of
from experiments.studies.trials import composed as composed_of
from experiments.studies.trials import keep as keep_rows

ROWS = "knowledge_prompts.csv"
"""In docs/."""
PASSES = {
    "disarm_tree": (),
    "rloo": ("estimator.latent=categorical", "estimator.num_samples=2"),
    "straight_through": ("estimator.latent=categorical", "estimator.num_samples=2"),
    "gumbel_softmax": ("estimator.latent=categorical", "estimator.num_samples=2"),
}
"""Estimators of two passes, and what they are told."""
LENGTHS = (1, 4, 16)
"""Vectors of an entity."""
READ = 4
"""Vectors of the prompts among which a linker chooses."""
FLOATS = "vectors"
"""What codes are compared with: free vectors of the same entities, as many as a code has variables."""
RUN = ("part", "variant", "seed")
FIGURES = (
    *("train_loss", "em", "em_other", "em_without", "em_majority", "em_macro"),
    *("held_out_em", "held_out_em_other", "held_out_em_without", "held_out_em_majority", "bytes"),
    *("same_class", "same_class_chance", "entropy", "em_right", "em_first", "em_random", "em_start"),
    *(
        "accuracy",
        "accuracy_first",
        "accuracy_chance",
        "accuracy_start",
        "accuracy_2",
        "accuracy_3_4",
        "accuracy_5_7",
        "accuracy_8_more",
    ),
)
COLUMNS = (*RUN, "steps", *FIGURES, "seconds")


class Trial(NamedTuple):
    """One run."""

    part: str
    """start, prompts, codes or linking."""
    variant: str = ""
    seed: int = 0

    def overrides(self, root: Path) -> list[str]:
        """For `python -m experiments.train`, with its folder below `root`."""
        start = root / "start"
        if self.part == "start":
            return ["experiment=knowledge_prompts_start", f"run.dir={start}"]
        own = [f"run.dir={self.folder(root)}", f"run.seed={self.seed}", f"model.start={start}"]
        if self.part == "prompts":
            how = "task.shared=true" if self.variant == "shared" else f"task.prompts={self.variant}"
            return ["experiment=knowledge_prompts", *own, how]
        if self.part == "codes":
            codes = ["experiment=knowledge_codes", *own]
            if self.variant == FLOATS:
                form = composed_of(codes)
                vectors = (f"data.entities={form.data.entities}", f"task.prompts={form.task.prompts}")
                return ["experiment=knowledge_prompts", *own, *vectors]
            return [*codes, f"estimator={self.variant}", *PASSES[self.variant]]
        memory = Trial("prompts", str(READ), self.seed).folder(root)
        labels = self.variant == "labels"
        estimator = ["task.labels=true"] if labels else [f"estimator={self.variant}", *PASSES[self.variant]]
        return ["experiment=knowledge_linking", *own, f"task.memory={memory}", *estimator]

    def folder(self, root: Path) -> Path:
        """Of the run."""
        return root / self.part / f"{self.variant}-seed{self.seed}"


def trials(part: str, seeds: Sequence[int]) -> Iterator[Trial]:
    """The runs of a part after those that they start from, seeds outermost."""
    variants = {
        "prompts": (*map(str, LENGTHS), "shared"),
        "codes": (FLOATS, *PASSES),
        "linking": (*PASSES, "labels"),
    }[part]
    yield Trial("start")
    for seed in seeds:
        if part == "linking":
            yield Trial("prompts", str(READ), seed)
        yield from (Trial(part, variant, seed) for variant in variants)


def composed(trial: Trial, arguments: Sequence[str], root: Path) -> DictConfig:
    """The configuration of a run; what the user gives is given to all, but for `data` of small trials, as for all."""
    return composed_of([*trial.overrides(root), "run.progress=false", "resume=auto", *arguments])


def carry_out(trial: Trial, config: DictConfig) -> dict[str, str]:
    """Train, unless that is done; its row.

    Raises:
        UserError, Interrupted: see `train`.
    """
    result = result_of(config)
    return cells(trial._asdict() | result | {"steps": result["step"], "bytes": _bytes(trial, config)}, COLUMNS)


def _bytes(trial: Trial, config: DictConfig) -> float | None:
    """Of an entity's prompt, in single precision, or of its code."""
    if trial.variant in PASSES:
        return float(config.task.prompts * math.log2(config.task.categories) / 8) if trial.part == "codes" else None
    return 4.0 * config.task.prompts * config.model.sizes.d_model if trial.part in ("prompts", "codes") else None


def keep(row: dict[str, str], path: Path) -> None:
    """Put a row into a CSV file, in the place of that of the same run."""
    keep_rows([row], path, COLUMNS, lambda other: tuple(other[column] for column in RUN))
