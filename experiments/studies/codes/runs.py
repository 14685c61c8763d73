"""Which runs there are, and what is kept of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from experiments.files import write_json
from experiments.parts.quantisers import principal_axes
from experiments.parts.retrieval import first_answers
from experiments.studies.trials import cells, file_name, last_result
from experiments.studies.trials import composed as composed_of
from experiments.studies.trials import keep as keep_rows
from experiments.train import build, train

ROWS = "codes.csv"
"""In docs/."""
STRUCTURES = {
    "product": ["model.structure=product"],
    "additive": ["model.structure=additive"],
    "residual": ["model.structure=residual", "optimizer.lr=1e-4", "codebook_optimizer.lr=3e-4"],
    "bits": ["model.structure=bits", "model.categories=2", "model.latent=bernoulli"],
}
METHODS = {
    "untrained": ["run.steps=1", "optimizer.lr=0", "codebook_optimizer.lr=0"],
    "codebooks alone": ["optimizer.lr=0", "estimator=argmax_st"],
    "RLOO(4)": ["estimator=rloo", "estimator.num_samples=4"],
    "straight-through": ["estimator=straight_through"],
    "hard Gumbel-softmax": ["estimator=gumbel_softmax_hard"],
    "argmax, straight-through": ["estimator=argmax_st"],
    "DisARM(2 pairs)": ["estimator=disarm", "estimator.num_pairs=2"],
    "local expectation": ["estimator=local_expectation", "estimator.num_variables=null", "task.asked=32"],
    "RLOO(4) on ranks": ["estimator=rloo", "estimator.num_samples=4", "task.objective=rank"],
    "RLOO(4), nested": ["estimator=rloo", "estimator.num_samples=4", "task.prefixes=[4,8,16]"],
    "RLOO(4), 0.003 a nat": ["estimator=rloo", "estimator.num_samples=4", "task.price=0.003"],
}
STEPS = dict.fromkeys(STRUCTURES, 400) | {"residual": 200}
"""Of a training, by the structure."""
UNTRAINED = (
    *(("product", count, 16) for count in (4, 8, 16, 32)),
    *(("residual", count, 256) for count in (2, 4, 8)),
    *(("bits", count, 2) for count in (16, 32, 64, 128)),
)
LINEAR = ("RLOO(4)", "straight-through", "hard Gumbel-softmax", "argmax, straight-through", "codebooks alone")
CHAIN = ("RLOO(4)", "hard Gumbel-softmax", "argmax, straight-through")
TRAINED = (
    *(("product", 16, 16, method) for method in LINEAR),
    *(("residual", 8, 256, method) for method in CHAIN),
    *(("bits", 64, 2, method) for method in ("DisARM(2 pairs)", "straight-through", "argmax, straight-through")),
    *(("product", 16, 16, m) for m in ("RLOO(4) on ranks", "RLOO(4), nested", "RLOO(4), 0.003 a nat")),
    *(("product", 8, 16, method) for method in LINEAR),
    *(("residual", 4, 256, method) for method in CHAIN),
    *(("additive", 16, 16, method) for method in ("RLOO(4)", "local expectation")),
)
RUN = ("structure", "variables", "categories", "method", "beam", "seed")
MEASURED = ("train_loss", "mrr", "recall_at_10", "entropy", "codewords", "bits", "seconds")
NESTED = tuple(f"{name}_first_{prefix}" for prefix in (4, 8) for name in ("mrr", "recall_at_10"))
COLUMNS = (*RUN, "steps", *MEASURED, *NESTED)


class Trial(NamedTuple):
    """One run."""

    structure: str
    variables: int
    categories: int
    method: str
    seed: int = 0

    @property
    def overrides(self) -> list[str]:
        """For `python -m experiments.train`."""
        sizes = [f"model.variables={self.variables}", f"model.categories={self.categories}"]
        steps = [f"run.steps={STEPS[self.structure]}", "run.evaluate_every=${run.steps}", "run.log_every=100"]
        given = [*sizes, *steps, *STRUCTURES[self.structure], *METHODS[self.method]]
        last = dict(item.split("=", 1) for item in given)  # later ones count, and none may be there twice
        return ["system=codes", f"run.seed={self.seed}", *(f"{name}={value}" for name, value in last.items())]

    @property
    def folder(self) -> Path:
        """Of the run, below that of the study."""
        method = file_name(self.method)
        return Path(f"{self.structure}{self.variables}x{self.categories}", f"{method}-seed{self.seed}")


def trials(seeds: Sequence[int]) -> Iterator[Trial]:
    """Those that are not trained before all others; seeds outermost."""
    for seed in seeds:
        yield from (Trial(*form, "untrained", seed) for form in UNTRAINED)
        yield from (Trial(*form, seed) for form in TRAINED)


def composed(trial: Trial, arguments: Sequence[str], root: Path) -> DictConfig:
    """The configuration of a run, in a folder of its own below `root`."""
    own = [*trial.overrides, f"run.dir={root / trial.folder}", "run.progress=false", "resume=auto"]
    return composed_of([*own, *arguments])


def carry_out(trial: Trial, config: DictConfig) -> list[dict[str, str]]:
    """Train, unless that is done; its rows, one by what is served greedily, of a chain one by a beam of 5.

    Raises:
        UserError, Interrupted: see `train`.
    """
    result, beam = last_result(config), Path(config.run.dir) / "beam.json"
    if result["step"] < config.run.steps or (trial.structure == "residual" and not beam.exists()):
        run = train(config)
        result = run.result or {}
        if trial.structure == "residual":
            task: Any = run.task.eval()
            task.beam = 5
            write_json(beam, result | task.evaluate(None))
    rows = [_row(trial, 1, result)]
    return rows if trial.structure != "residual" else [*rows, _row(trial, 5, json.loads(beam.read_text()))]


def floats(config: DictConfig) -> list[dict[str, str]]:
    """Rows of the embeddings themselves, and of their projection to the codes' dimensions."""
    task: Any = build(config).task
    axes = principal_axes(task.train_pairs.documents, config.model.dimensions)
    rows = torch.arange(len(task.queries))
    found = []
    for name, width in (("floats", task.queries.shape[1]), ("floats, projected", config.model.dimensions)):
        queries, documents = task.queries, task.documents
        if name != "floats":
            queries, documents = queries @ axes.T, torch.nn.functional.normalize(documents @ axes.T, dim=-1)
        each = first_answers(queries, documents, lambda part: task.judged.relevant(rows[part]), task.world)
        measured = {"mrr": each["mrr"], "recall_at_10": each["recall"], "bits": 32.0 * width, "step": 0}
        found.append(_row(Trial(name, width, 0, "untrained"), 1, measured))
    return found


def keep(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Put rows into a CSV file, in the place of those of the same runs."""
    keep_rows(rows, path, COLUMNS, lambda row: tuple(row[name] for name in RUN))


def _row(trial: Trial, beam: int, result: dict[str, Any]) -> dict[str, str]:
    values = trial._asdict() | {"beam": beam} | result | {"steps": result["step"]}
    return cells(values, COLUMNS)
