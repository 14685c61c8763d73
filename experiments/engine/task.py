"""What the engine asks of a system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.engine.settings import Settings
from experiments.engine.world import World


class Step(NamedTuple):
    """What one forward pass returns."""

    loss: Tensor
    """A scalar with its graph. The engine alone calls `backward`."""
    shown: dict[str, Tensor]
    """Detached scalars by name: each is averaged over steps and processes into a column of metrics.csv."""


class NotFinite(Exception):
    """A term of the loss, by its name, is NaN or infinite; the engine says at which step, and what to do."""


def finite(terms: Mapping[str, Tensor]) -> None:
    """Refuse values that are not finite; looks at a GPU's values once.

    Raises:
        NotFinite: that names the first such term.
    """
    if not bool(torch.stack([values.detach().isfinite().all() for values in terms.values()]).all()):
        raise NotFinite(next(name for name, values in terms.items() if not values.isfinite().all()))


class Watch(NamedTuple):
    """What `discretegrad.analysis.Monitor` looks at after a forward pass: see its method `after`."""

    estimator: dg.Estimator
    f: Callable[[Tensor], Tensor]
    logits: Tensor
    context: Tensor | None
    on: str


class Task(nn.Module, ABC):
    """A system to train: what it learns from, what it minimises, how it is judged.

    All that it learns are its parameters and buffers, those of an estimator's modules included (`dg.nn.Learners`).
    Several processes average the gradients of all parameters in every step, and the buffers of floating point that it
    has moved; so all compute with equal ones.
    """

    measures: ClassVar[dict[str, str]]
    """The columns in their order, each with its unit: all that `Step.shown`, `noted` and `evaluate` name."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What is trained on what, in a few words."""

    def begin(self, settings: Settings, world: World) -> None:
        """Refuse what does not fit, before anything is written, and move data to `world.device`.

        Raises:
            UserError: one sentence that says what is wrong and what to do.
        """

    @abstractmethod
    def batch(self, step: int) -> Any:
        """What `forward` of a step takes: a function of the seed, the step and the rank alone."""

    @abstractmethod
    def groups(self) -> dict[str, list[nn.Parameter]]:
        """By the name of an optimiser in the configuration, the parameters that it moves."""

    @abstractmethod
    def forward(self, batch: Any, generator: torch.Generator) -> Step:
        """The loss of a batch.

        Args:
            batch: from `batch`.
            generator: the process's own, for all noise of estimators and data. Torch's global generators are seeded
                by the engine before every call, for dropout and the like.

        Raises:
            NotFinite: by `finite`, which names the term.
        """

    def after(self) -> None:
        """Update what learns without the optimisers, which have moved; the gradients are there still."""

    def noted(self) -> Mapping[str, float | None]:
        """What else goes into a row of metrics.csv: what the task itself keeps a running average of."""
        return {}

    @abstractmethod
    def evaluate(self, most: int | None) -> dict[str, float]:
        """Judge on examples that were not trained on; the same noise every time, and not the training's.

        Args:
            most: how many examples, spread over the set; None: all. Each process takes its `world.share` of them, and
                noise of its own by `world.apart`.
        """

    def pictures(self, folder: Path) -> list[Path]:
        """Draw into the folder what only this system can show, in evaluation mode; the files' paths."""
        return []

    def watched(self) -> Watch | None:
        """What a monitor measures, of the last forward pass; None where there is no estimator to watch."""
        return None
