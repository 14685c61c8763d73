"""Which runs there are, and what is kept of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from experiments.errors import UserError
from experiments.studies.trials import ROOT, read, result_of
from experiments.studies.trials import composed as composed_of
from experiments.studies.trials import keep as keep_rows

OURS = "beyond_reinmax.csv"
"""In docs/."""
THEIRS = ROOT / "experiments" / "data" / "beyond_reinmax.csv"
NAMES = {
    "rloo": "RLOO",
    "disarm_tree": "DisARM-Tree",
    "double_cv": "DoubleCV",
    "quadratic": "quadratic control variate",
    "flow": "Flow",
    "st_gumbel": "ST-Gumbel-softmax",
    "gumbel_rao": "Gumbel-Rao",
    "st": "straight-through",
    "gst": "GST-1.0",
    "reinmax": "ReinMax",
    "reinmax_rao": "ReinMax-Rao",
}
"""Of methods without their evaluations; theirs as in their file."""
UNBIASED = ("rloo", "disarm_tree", "double_cv", "quadratic", "flow")
BIASED = tuple(name for name in NAMES if name not in UNBIASED)
AS_IT_IS = ("reinmax", "rloo4", *(f"{name}2" for name in UNBIASED))
"""Run here beside theirs with one sample; ReinMax to see that their curve comes out."""
AT_FOUR = tuple(f"{name}4" for name in (*UNBIASED, "reinmax", "reinmax_rao", *BIASED[:4]))
SIZES = ("8x4", "64x8")
SEEDS = (0, 1, 2)
GRID = tuple((optimizer, lr) for optimizer in ("Adam", "RAdam") for lr in (3e-4, 5e-4, 7e-4, 1e-3))
HELD_OUT = 5000
RUN = ("part", "method", "categories", "variables", "optimizer", "lr", "temperature", "seed")
COLUMNS = (*RUN, "epoch", "train", "test", "seconds")


class Trial(NamedTuple):
    """One run."""

    part: str
    """first, with what theirs chose for ReinMax; grid; chosen, with the grid's best."""
    method: str
    size: str
    seed: int
    optimizer: str | None = None
    lr: float | None = None

    @property
    def overrides(self) -> list[str]:
        """For `python -m experiments.train`."""
        found = ["experiment=beyond_reinmax", f"method={self.method}", f"size={self.size}", f"run.seed={self.seed}"]
        if self.optimizer is not None:
            found += [f"choices.picked.optimizer={self.optimizer}", f"choices.picked.lr={self.lr}"]
        if self.part == "grid":
            found += [f"data.held_out={HELD_OUT}", "run.log_every=550", "run.steps=5500", "run.evaluate_every=5500"]
        return found


def kind_of(method: str) -> str:
    """The method without its evaluations."""
    return method.rstrip("24")


def trials(
    part: str, sizes: Sequence[str], methods: Sequence[str], seeds: Sequence[int], kept: Sequence[Mapping[str, str]]
) -> Iterator[Trial]:
    """The runs of a part, seeds outermost, so that one that was stopped has a whole table of fewer seeds.

    Args:
        kept: rows of earlier runs, where the grid's best are found.

    Raises:
        UserError: where the grid has not been run.
    """
    for seed in seeds[:1] if part == "grid" else seeds:
        for size in sizes:
            best = chosen(kept, size)
            for method in methods:
                if kind_of(method) in BIASED:  # these have their choice
                    if part != "grid":
                        yield Trial("first", method, size, seed)
                elif part == "grid":
                    yield from (Trial(part, method, size, seed, *pair) for pair in GRID)
                elif part == "first":
                    yield Trial(part, method, size, seed)
                elif method in best:
                    yield Trial(part, method, size, seed, *best[method])
                else:
                    raise UserError(f"the grid has no {method} at {size} yet; run it, or name others by --methods.")


def chosen(lines: Sequence[Mapping[str, str]], size: str) -> dict[str, tuple[str, float]]:
    """The grid's best for each method, of the runs that got farthest: optimiser and learning rate.

    A method at 4 evaluations that the grid lacks has the best of the same at 2.
    """
    best: dict[str, Mapping[str, str]] = {}
    for line in lines:
        if line["part"] == "grid" and line["test"] and size_of(line) == size:
            before = best.get(line["method"], line)
            best[line["method"]] = min(before, line, key=lambda each: (-int(each["epoch"]), float(each["test"])))
    for kind in UNBIASED:
        if f"{kind}2" in best:
            best.setdefault(f"{kind}4", best[f"{kind}2"])
    return {method: (line["optimizer"], float(line["lr"])) for method, line in best.items()}


def size_of(line: Mapping[str, str]) -> str:
    """Categories x variables of a row."""
    return f"{line['categories']}x{line['variables']}"


def composed(trial: Trial, arguments: Sequence[str], root: Path) -> DictConfig:
    """The configuration of a run, in a folder of its own below `root`."""
    parts = [trial.part, trial.size, trial.method, f"seed{trial.seed}"]
    if trial.optimizer is not None:
        parts.insert(3, f"{trial.optimizer}-{trial.lr}")
    own = [*trial.overrides, f"run.dir={root.joinpath(*parts)}", "run.progress=false"]
    return composed_of([*own, *arguments])


def carry_out(trial: Trial, config: DictConfig) -> list[dict[str, Any]]:
    """Train, unless that is done; the rows, an epoch each.

    Raises:
        UserError, Interrupted: see `train`.
    """
    last = result_of(config)
    found = []
    for row in read(Path(config.run.dir) / "metrics.csv"):
        line: dict[str, Any] = {"part": trial.part, "method": trial.method, "seed": trial.seed}
        line["categories"], line["variables"] = config.model.categories, config.model.variables
        line["optimizer"], line["lr"] = config.choices.picked.optimizer, f"{config.choices.picked.lr:g}"
        if kind_of(trial.method) in BIASED:
            line["temperature"] = f"{config.choices.picked.temperature:g}"
        line["epoch"] = int(row["step"]) // config.run.log_every
        line["train"] = f"{-float(row['train_elbo']):.3f}"
        if int(row["step"]) == last["step"]:
            line["test"] = f"{-last['test_bound']:.3f}"
        line["seconds"] = row["seconds"]
        found.append({column: str(line.get(column, "")) for column in COLUMNS})
    return found


def keep(found: Sequence[dict[str, str]], path: Path) -> None:
    """Add rows to a CSV file, in the place of those of the same run."""
    keep_rows(found, path, COLUMNS, _run, lambda row: (_run(row), int(row["epoch"])))


def _run(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[column] for column in RUN)
