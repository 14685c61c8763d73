"""The sizes that are measured, and what the environment says about a run.

BENCH_THREADS: torch's threads, all cores by default. BENCH_SECONDS: what the rounds of one case may take together.
BENCH_SMALL=1: everything in miniature and without many rounds, to see that it runs; the numbers mean nothing.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch

SMALL = os.environ.get("BENCH_SMALL") == "1"
SECONDS = float(os.environ.get("BENCH_SECONDS", "0.01" if SMALL else "3"))
FEWEST, MOST = (2, 2) if SMALL else (5, 60)
"""Rounds of a case, whatever the time it may take."""


class Setting(NamedTuple):
    """A model's latents."""

    variables: int
    categories: int
    latent: str = "categorical"
    batch: int = 3 if SMALL else 200

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one example's logits."""
        return (self.variables,) if self.latent == "bernoulli" else (self.variables, self.categories)

    @property
    def columns(self) -> dict[str, int]:
        """As the results' columns have it."""
        return {"C": self.categories, "V": self.variables, "B": self.batch}


SETTINGS = (
    {"categorical-4": Setting(3, 4), "bernoulli": Setting(3, 2, "bernoulli")}
    if SMALL
    else {
        "categorical-16": Setting(32, 16),
        "categorical-64": Setting(32, 64),
        "bernoulli": Setting(200, 2, "bernoulli"),
    }
)
HIDDEN = (8, 4) if SMALL else (512, 256)
PIXELS = 9 if SMALL else 784


def set_threads() -> None:
    """All cores, or what BENCH_THREADS says."""
    torch.set_num_threads(int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1)))
