"""Which runs there are, and what is kept of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from experiments.studies import page
from experiments.studies.trials import Row, cells, file_name, result_of
from experiments.studies.trials import composed as composed_of
from experiments.studies.trials import keep as keep_rows
from experiments.systems.gemini.stages import PASSES

ROWS = "gemini.csv"
"""In docs/."""


class Method(NamedTuple):
    """How tokens and language model are learned."""

    overrides: tuple[str, ...]
    points: int | None
    """Of the tokenizer's decoder in a step of the first of two stages; None: all learns together, with two."""


GUMBEL = ("estimator=gumbel_softmax", "task.temperature_end=0.0625")
METHODS = {
    "joint, DisARM-Tree": Method(("estimator=disarm_tree",), None),
    "joint, RLOO(2)": Method(("estimator=rloo",), None),
    "joint, Flow": Method(("estimator=flow",), None),
    "joint, quadratic control variate": Method(("estimator=reinforce_quadratic",), None),
    "two stages, VQ": Method(("model.posterior=nearest",), 1),
    "two stages, Gumbel-softmax": Method(GUMBEL, 1),
    "two stages, DisARM-Tree": Method(("estimator=disarm_tree",), 2),
}
FIGURES = (
    *("train_loss", "test_elbo", "test_bound", "test_rate", "tokens_used", "read_class", "read_attributes"),
    *("read_caption", "prompt_read", "drawn_class", "drawn_attributes", "prompt_drawn", "judge_accuracy"),
)
RUN = ("method", "steps", "data", "seed")
COLUMNS = (*RUN, "images", "step", "seconds", *PASSES, *FIGURES)


class Trial(NamedTuple):
    """One run."""

    method: str
    steps: int
    """Of a joint run, in each of which images go twice through the decoder, thrice through the language model."""
    seed: int

    @property
    def overrides(self) -> list[str]:
        """For `python -m experiments.train`: two stages have as many passes of decoder and language model, or one more.

        Their passes of the encoder are more, and so are their optimisers' steps.
        """
        own, points = METHODS[self.method]
        if points is None:
            return [*own, f"run.steps={self.steps}"]
        first, second = 2 * self.steps // points, -(-3 * self.steps // 2)
        return [*own, f"task.tokenizer_steps={first}", f"run.steps={first + second}"]

    @property
    def folder(self) -> str:
        """Of the run, below that of the study."""
        method = file_name(self.method)
        return f"{method}-{self.steps}-seed{self.seed}"


def trials(methods: Sequence[str], seeds: Sequence[int], steps: int) -> Iterator[Trial]:
    """Seeds outermost."""
    for seed in seeds:
        yield from (Trial(method, steps, seed) for method in methods)


def composed(trial: Trial, arguments: Sequence[str], root: Path) -> DictConfig:
    """The configuration of a run, in a folder of its own below `root` and the data's name."""
    data = next((each.removeprefix("data=") for each in arguments if each.startswith("data=")), "mnist_subset")
    own = ["experiment=gemini", *trial.overrides, f"run.seed={trial.seed}", "run.progress=false", "resume=auto"]
    own += [f"run.evaluate_every={max(1, trial.steps // 10)}", f"run.dir={root / data / trial.folder}"]
    return composed_of([*own, *arguments])


def carry_out(trial: Trial, config: DictConfig) -> list[Row]:
    """Train, unless that is done; a row for each evaluation along the run, and a last one of all test images.

    Raises:
        UserError, Interrupted: see `train`.
    """
    result = result_of(config)
    along = [row for row in page.read(Path(config.run.dir) / "metrics.csv") if row["test_bound"]]
    data = Path(config.run.dir).parent.name
    run = trial._asdict() | {"data": data}
    return [_row(run | {"images": "some"} | row) for row in along] + [_row(run | {"images": "all"} | result)]


def keep(rows: Sequence[Row], path: Path) -> None:
    """Put rows into a CSV file, in the place of those of the same runs."""

    def run(row: Row) -> tuple[str, ...]:
        return tuple(row[name] for name in RUN)

    keep_rows(rows, path, COLUMNS, run, lambda row: (*run(row), row["images"] == "all", int(row["step"])))


def _row(values: dict[str, object]) -> Row:
    return cells(values, COLUMNS, digits=6)
