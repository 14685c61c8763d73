"""Which runs there are, and what is kept of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from experiments.studies import page
from experiments.studies.trials import composed as composed_of
from experiments.studies.trials import file_name, result_of
from experiments.studies.trials import keep as keep_rows

ROWS = "skill_paths.csv"
"""In docs/."""
CEILING = "supervised"
METHODS = {
    CEILING: ["task.supervised=true"],
    "RLOO(8)": ["estimator=rloo", "estimator.num_samples=8"],
    "DisARMTree(4 pairs)": ["estimator=disarm_tree", "estimator.num_pairs=4"],
    "Flow(4 pairs)": ["estimator=flow", "estimator.coupling.num_pairs=4"],
    "UnorderedSet(8)": ["estimator=unordered_set", "estimator.k=8"],
    "SumAndSample(4 + 4)": ["estimator=sum_and_sample", "estimator.k=4", "estimator.num_samples=4"],
    "LocalExpectation(1)": ["estimator=local_expectation", "estimator.num_variables=1"],
    "Exact": ["estimator=exact"],
}
"""With eight look-ups a question, or nine of `LocalExpectation`; `Exact` has those of all paths."""
GRAPHS = {
    "geonames": ["run.steps=800"],
    # Hardly a path is right by chance there: with an entropy of 0.03, RLOO found 0.17 and was near chance still.
    "wordnet": ["run.steps=10000", "run.evaluate_every=250", "task.entropy=0.01"],
}
EXACT_STEPS = {"geonames": 500, "wordnet": 3000}
"""Of `Exact`, which looks up 729 or 1,000 paths a question."""
RUN = ("graph", "method", "seed")
SHARES = tuple(f"{part}{end}" for part in ("held_out", "reworded") for end in ("", "_1", "_2", "_3"))
COLUMNS = (*RUN, "step", "lookups", *SHARES, "entropy", "seconds")


class Trial(NamedTuple):
    """One run."""

    graph: str
    method: str
    seed: int

    @property
    def overrides(self) -> list[str]:
        """For `python -m experiments.train`."""
        own = [f"data={self.graph}_questions", *GRAPHS[self.graph], f"run.seed={self.seed}"]
        if self.method == "Exact":
            own.append(f"run.steps={EXACT_STEPS[self.graph]}")
        return ["system=skill", *own, *METHODS[self.method]]

    @property
    def folder(self) -> Path:
        """Of the run, below that of the study."""
        method = file_name(self.method)
        return Path(self.graph, f"{method}-seed{self.seed}")


def trials(graph: str, seeds: Sequence[int]) -> Iterator[Trial]:
    """All of a graph, seeds outermost."""
    return (Trial(graph, method, seed) for seed in seeds for method in METHODS)


def composed(trial: Trial, arguments: Sequence[str], root: Path) -> DictConfig:
    """The configuration of a run, in a folder of its own below `root`."""
    own = [*trial.overrides, f"run.dir={root / trial.folder}", "run.progress=false", "resume=auto"]
    return composed_of([*own, *arguments])


def carry_out(trial: Trial, config: DictConfig) -> list[dict[str, str]]:
    """Train, unless that is done; a row for every evaluation on the way.

    Raises:
        UserError, Interrupted: see `train`.
    """
    result_of(config)
    named = {name: str(value) for name, value in trial._asdict().items()}
    rows = page.read(Path(config.run.dir) / "metrics.csv")
    measured = [row for row in rows if row["held_out"] and int(row["step"]) <= config.run.steps]
    return [{name: _short((named | row).get(name, "")) for name in COLUMNS} for row in measured]


def keep(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Put the rows of runs into a CSV file, in the place of those of the same runs."""
    keep_rows(
        rows, path, COLUMNS, lambda row: tuple(row[name] for name in RUN), lambda row: (*_place(row), int(row["step"]))
    )


def _place(row: dict[str, str]) -> tuple[str, int, int]:
    return row["graph"], [*METHODS].index(row["method"]), int(row["seed"])


def _short(value: str) -> str:
    try:
        return f"{float(value):.5g}" if "." in value else value
    except ValueError:
        return value
