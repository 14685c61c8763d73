"""Which runs there are, and what is kept of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from experiments.studies.trials import cells, result_of
from experiments.studies.trials import composed as composed_of
from experiments.studies.trials import keep as keep_rows

ROWS = "dual_encoders.csv"
"""In docs/."""
VARIANTS = {"sde": "SDE", "ade": "ADE", "ade_ste": "ADE-STE", "ade_fte": "ADE-FTE", "ade_spl": "ADE-SPL"}
MODULES = ("embedder", "positions", "layer1", "layer2", "projection")
"""Of the configured encoder."""
STEPS = {500: 250, 2000: 250, 8000: 400, 30000: 600, 77000: 900}
"""By the number of pairs."""
FEW, MANY = 2000, 77000
"""Numbers of pairs at which ties are enumerated and searched for."""
PRICES = (0.0, 0.01, 0.03, 0.1, 0.3)
APART = (0.0, 0.2)
TIED = {MODULES: "sde", (): "ade", ("embedder",): "ade_ste", ("projection",): "ade_spl"}
"""Ties that the paper has a name for."""
RUN = ("part", "pairs", "variant", "price", "apart", "seed")
COLUMNS = (*RUN, "found", "steps", "train_loss", "mrr", "p_at_1", "ndcg_at_10", "seconds")


class Trial(NamedTuple):
    """One run."""

    part: str
    """start, variants, ties or searches."""
    pairs: int = 0
    variant: str = "sde"
    seed: int = 0
    price: float = 0.0
    apart: float = 0.0

    @property
    def overrides(self) -> list[str]:
        """For `python -m experiments.train`."""
        if self.part == "start":
            return ["experiment=dual_encoders_start"]
        found = [f"data.pairs={self.pairs}", f"run.seed={self.seed}", f"run.steps={STEPS[self.pairs]}"]
        if self.part == "searches":
            return ["experiment=sharing", *found, f"task.price={self.price}", f"task.apart={self.apart}"]
        return ["experiment=dual_encoders", *found, f"model.variant={self.variant}"]

    @property
    def folder(self) -> Path:
        """Of the run, below that of the study."""
        if self.part == "start":
            return Path("start")
        name = f"price{self.price:g}-apart{self.apart:g}" if self.part == "searches" else self.variant
        return Path(self.part, str(self.pairs), f"{name}-seed{self.seed}")


def ties() -> list[str]:
    """All ways to tie two towers, as `model.variant` names them."""
    chosen = [
        tuple(itertools.compress(MODULES, bits)) for bits in itertools.product((True, False), repeat=len(MODULES))
    ]
    return [TIED.get(modules, "+".join(modules)) for modules in chosen]


def trials(part: str, sizes: Sequence[int], seeds: Sequence[int]) -> Iterator[Trial]:
    """The runs of a part, the start first and seeds outermost; ties that are variants are trained as these."""
    yield Trial("start")
    for seed, size in itertools.product(seeds, sizes):
        if part == "variants":
            yield from (Trial(part, size, variant, seed) for variant in VARIANTS)
        elif part == "ties":
            yield from (Trial("variants" if tie in VARIANTS else part, size, tie, seed) for tie in ties())
        else:
            yield from (Trial(part, size, "searched", seed, price, apart) for price in PRICES for apart in APART)


def composed(trial: Trial, arguments: Sequence[str], root: Path) -> DictConfig:
    """The configuration of a run, in a folder of its own below `root`."""
    own = [*trial.overrides, f"run.dir={root / trial.folder}", "run.progress=false"]
    if trial.part != "start":
        own += [f"model.start={root / 'start'}", "run.evaluate_every=${run.steps}", "resume=auto"]
    return composed_of([*own, *arguments])


def carry_out(trial: Trial, config: DictConfig) -> dict[str, str]:
    """Train, unless that is done; its row.

    Raises:
        UserError, Interrupted: see `train`.
    """
    result = result_of(config)
    shares = [module for module in MODULES if result.get(f"share_{module}", 0.0) > 0.5]
    row = trial._asdict() | result | {"steps": result["step"]}
    row["found"] = TIED.get(tuple(shares), "+".join(shares)) if trial.part == "searches" else ""
    return cells(row, COLUMNS)


def keep(row: dict[str, str], path: Path) -> None:
    """Put a row into a CSV file, in the place of that of the same run."""
    keep_rows([row], path, COLUMNS, lambda other: tuple(other[column] for column in RUN))
