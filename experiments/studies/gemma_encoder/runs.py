"""Which runs there are, and what is kept of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from experiments.studies.trials import Row, cells, file_name, result_of
from experiments.studies.trials import composed as composed_of
from experiments.studies.trials import keep as keep_rows

ROWS = "gemma_encoder.csv"
"""In docs/."""
PARTS = ("start", "masks", "reading")
TASKS = {"classes": "accuracy", "entailment": "accuracy", "similarity": "spearman", "ranking": "mrr"}
"""What each is judged by."""
RANKED = 8
"""Examples of a step of ranking, of eight readings each."""
MASKS = ("bidirectional", "causal")
POOLERS = ("mean", "first", "last", "keys", "query")
READING = ("classes", "entailment")
"""Tasks of hard reading."""
TWO = "estimator.num_samples=2"
METHODS = {
    "gates, DisARM": ("task.form=gates", "estimator=disarm"),
    "gates, RLOO(2)": ("task.form=gates", "estimator=rloo", TWO),
    "gates, straight-through": ("task.form=gates", "estimator=straight_through", TWO),
    "gates, Gumbel-softmax": ("task.form=gates", "estimator=gumbel_softmax", TWO),
    "gates, hard Gumbel-softmax": ("task.form=gates", "estimator=gumbel_softmax_hard", TWO),
    "probes, DisARM-Tree": ("task.form=probes", "estimator=disarm_tree"),
    "probes, RLOO(2)": ("task.form=probes", "estimator=rloo", TWO),
    "probes, straight-through": ("task.form=probes", "estimator=straight_through", TWO),
    "probes, Gumbel-softmax": ("task.form=probes", "estimator=gumbel_softmax", TWO),
}
"""Of hard reading, all with two passes of the encoder in a step."""
RUN = ("part", "task", "weights", "mask", "pooler", "method", "seed")
FIGURES = ("majority", "p_at_1", "drawn", "all", "kept", "kept_drawn", "read", "price", "train_loss")
COLUMNS = (*RUN, "steps", "score", *FIGURES, "seconds")


class Trial(NamedTuple):
    """One run."""

    part: str
    task: str = ""
    weights: str = ""
    """learned by the decoder, or random."""
    mask: str = ""
    pooler: str = ""
    method: str = ""
    seed: int = 0

    def overrides(self, root: Path) -> list[str]:
        """For `python -m experiments.train`, with its folder below `root`."""
        own = [f"run.seed={self.seed}", f"run.dir={root / self.folder}"]
        if self.part == "start":
            return ["experiment=gemma_encoder_start", *own]
        own += [f"model.start={root / Trial('start', seed=self.seed).folder}", f"data.task={self.task}"]
        if self.part == "reading":
            return ["experiment=hard_reading", *own, *METHODS[self.method], *self._fixed()]
        own += [f"model.mask={self.mask}", f"model.pooler={self.pooler}"]
        own += [f"run.batch={RANKED}"] if self.task == "ranking" else []
        return ["experiment=gemma_encoder", *own, f"model.untrained={str(self.weights == 'random').lower()}"]

    @property
    def folder(self) -> str:
        """Of the run, below that of the study."""
        names = [file_name(name) for name in self[1:6] if name]
        return str(Path(self.part, "-".join([*names, f"seed{self.seed}"])))

    def _fixed(self) -> list[str]:
        """The number of probes is their price."""
        return ["task.price_step=0"] if self.method.startswith("probes") else []


def trials(parts: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> Iterator[Trial]:
    """The runs of some parts, after the decoder that they start from; seeds outermost."""
    for seed in seeds:
        yield Trial("start", seed=seed)
        for task in tasks if "masks" in parts else ():
            for mask in MASKS:
                yield Trial("masks", task, "random", mask, "mean", seed=seed)
                yield from (Trial("masks", task, "learned", mask, pooler, seed=seed) for pooler in POOLERS)
        for task in tasks if "reading" in parts else ():
            if task in READING:
                yield from (Trial("reading", task, method=method, seed=seed) for method in METHODS)


def composed(trial: Trial, arguments: Sequence[str], root: Path) -> DictConfig:
    """The configuration of a run; what the user gives is given to all, but data.* to those that are judged by tasks."""
    own = [each for each in arguments if trial.part != "start" or not each.startswith("data.")]
    return composed_of([*trial.overrides(root), "run.progress=false", "resume=auto", *own])


def carry_out(trial: Trial, config: DictConfig) -> Row:
    """Train, unless that is done; its row.

    Raises:
        UserError, Interrupted: see `train`.
    """
    result = result_of(config)
    figure = TASKS.get(trial.task, "held_out_loss")
    renamed = {name.removeprefix(f"{figure}_"): value for name, value in result.items()}
    return cells(renamed | trial._asdict() | {"steps": result["step"], "score": result[figure]}, COLUMNS)


def keep(row: Row, path: Path) -> None:
    """Put a row into a CSV file, in the place of that of the same run."""
    keep_rows([row], path, COLUMNS, lambda other: tuple(other[column] for column in RUN))
