"""The variance, the bias and the time of estimators at given logits, from draws, with standard errors.

`exact.moments` enumerates small problems; this is for the user's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from discretegrad import checks
from discretegrad.analysis.estimate import Estimate, typical
from discretegrad.analysis.known import UNKNOWN, Known, look
from discretegrad.analysis.restore import restored
from discretegrad.control_variate import BatchLeaveOneOut, Chain
from discretegrad.core import Composition, Estimator, Pathwise
from discretegrad.draw import Draw
from discretegrad.estimators import RLOO

ENTRIES = 2**20
"""How many entries of points are stacked for one call of f: enough for calls to cost little, and so few that what f
makes of them takes little memory."""
KEPT = 2**25 - 2**14
"""Bytes: nearly the largest block that glibc's malloc learns from."""


class Replicates(NamedTuple):
    """Independent gradients of one estimator, and what each took."""

    gradients: Tensor
    """`[R, D]` over the D entries of the logits, in their dtype."""
    evaluations: int
    """Of f, for each."""
    entries: int
    """Of the points, for each."""
    batch_dims: int
    """How many of the logits' first dimensions the values of f have."""
    values: Tensor | None = None
    """`[R]`, the estimates of E f, averaged over the batch; None where nothing is known of f."""


@dataclass(frozen=True)
class Problem:
    """What estimators are measured on."""

    f: Callable[[Tensor], Tensor]
    logits: Tensor
    """Without a graph."""
    generator: torch.Generator | None = None
    mask: Tensor | None = None
    context: Any = None
    on: str = "points"
    """What f is called with: "points" or "ids"."""
    known: Known = UNKNOWN
    """See `look`."""

    def look(self, latent: str) -> Known:
        """What is known of f, from a few calls."""
        estimator, generator = RLOO(2, latent), torch.Generator(self.logits.device).manual_seed(0)
        # Others that are as probable as any: where all points are equal, mixing them cannot be seen.
        own, others = (estimator.sample(logits, generator, self.mask) for logits in (self.logits, level(self.logits)))
        with restored(self.logits.device):
            return look(self.f, self.inputs(own), self.inputs(others))

    def inputs(self, draw: Draw) -> Tensor:
        """What f is called with."""
        return draw.points if self.on == "points" else draw.indices

    def values(self, inputs: Tensor) -> Tensor:
        """Of f, without a graph."""
        return self.known.values(self.f, inputs)

    def seconds(self, estimators: Sequence[Estimator], rounds: int) -> list[Estimate | Exception]:
        """For one gradient of each; see `in_turns`."""
        return in_turns([partial(self.gradient, estimator) for estimator in estimators], rounds, self.logits.device)

    def together(self, estimator: Estimator, one: Replicates) -> int:
        """How many replicates should share a call of f, from what one took; 1 where they cannot."""
        if self.known.alone is not None or not _element_by_element(estimator):
            return 1
        if self.context is not None and not (one.batch_dims and _of_batch(self.context, self.logits)):
            return 1
        return max(1, ENTRIES // max(1, one.entries))

    def gradient(self, estimator: Estimator, together: int = 1, batch_dims: int = 0) -> Replicates:
        """One gradient, or several with one call of f.

        For the estimator replicates are elements of the batch; for f, which may know the batch, they are points.

        Args:
            estimator: any of `E f`.
            together: how many.
            batch_dims: as a single one found it; not used for one.
        """
        checks.on(self.on, estimator.takes_ids, type(estimator).__name__)

        def several(tensor: Tensor) -> Tensor:
            """With the replicates as, or within, the first dimension of the batch."""
            if together == 1:
                return tensor
            stacked = tensor.expand(together, *tensor.shape)
            return stacked.flatten(0, 1) if batch_dims else stacked

        def for_f(tensor: Tensor) -> Tensor:
            if together == 1:
                return tensor
            return (tensor.unflatten(1, (together, -1)) if batch_dims else tensor).flatten(0, 1)

        def from_f(values: Tensor) -> Tensor:
            if together == 1:
                return values
            apart = values.unflatten(0, (-1, together))
            return apart.flatten(1, 2) if batch_dims else apart

        leaf = several(self.logits).contiguous().detach().requires_grad_()
        mask = self.mask
        if mask is not None and together > 1:
            variables = self.logits.shape[: self.logits.ndim - checks.named_latent(estimator.latent).rank]
            mask = several(mask.expand(variables))
        context = several(self.context) if isinstance(self.context, Tensor) else self.context
        draw = estimator.sample(leaf, self.generator, mask)
        inputs = for_f(self.inputs(draw))
        if estimator.needs_grad_f:
            with torch.enable_grad():
                values = from_f(self.f(inputs))
        else:  # f's own parameters need no graph
            values = from_f(self.known.values(self.f, inputs))
        surrogate = estimator.surrogate(draw, values, context, validate=False)  # who measures looks at gradients
        (gradient,) = torch.autograd.grad(surrogate.sum(), leaf)
        return Replicates(
            gradient.reshape(together, -1),
            draw.evaluations,
            draw.evaluations * self.logits.numel(),
            values.ndim - (1 if together == 1 or batch_dims else 2),
            surrogate.detach().reshape(together, -1).double().mean(1),
        )


def level(logits: Tensor) -> Tensor:
    """All that is not forbidden alike, with the logits' graph: what is drawn then does not hang on their rounding."""
    values = logits.detach()
    return torch.where(values.abs() < 1e3, logits - values, values)


def in_turns(calls: Sequence[Callable[[], object]], rounds: int, device: torch.device) -> list[Estimate | Exception]:
    """Seconds of calls, see `typical`, or what one raised.

    They take turns, so that what else the machine does falls on all alike.
    """
    times: list[list[float]] = [[] for _ in calls]
    errors: dict[int, Exception] = {}
    for _ in range(rounds):
        for number, call in enumerate(calls):
            if number in errors:
                continue
            wait(device)
            start = time.perf_counter()
            try:
                call()
            except Exception as error:
                errors[number] = error
            wait(device)
            times[number].append(time.perf_counter() - start)
    return [errors.get(number) or typical(of_call) for number, of_call in enumerate(times)]


class Replicator:
    """Replicates of one estimator, with calls of f as large as is good.

    Args:
        source: what has `gradient` and `together` as a problem has.
        estimator: whose.
    """

    def __init__(self, source: Replicable, estimator: Estimator) -> None:
        self.source, self.estimator = source, estimator
        self.together, self.batch_dims = 0, 0
        """How many share a call of f, and `Replicates.batch_dims`; the first replicate alone tells."""
        self._shared = False
        """Whether several were drawn together."""
        keep_freed_memory()

    def next(self, most: int) -> Replicates:
        """So many at most."""
        if not self.together:
            found = self.source.gradient(self.estimator)
            self.together, self.batch_dims = self.source.together(self.estimator, found), found.batch_dims
            return found
        count = min(self.together, most)
        try:
            found = self.source.gradient(self.estimator, count, self.batch_dims)
        except Exception:
            if self._shared or count == 1:
                raise
            # What a control variate or a context holds may have the size of one batch. Other errors come again.
            found = self.source.gradient(self.estimator)
            self.together, self.batch_dims = 1, found.batch_dims
        self._shared = self._shared or count > 1
        return found

    def take(self, count: int) -> Iterator[Replicates]:
        """So many, in parts."""
        while count:
            found = self.next(count)
            count -= len(found.gradients)
            yield found


class Replicable(Protocol):
    """What replicates come from."""

    def gradient(self, estimator: Estimator, together: int = 1, batch_dims: int = 0) -> Replicates:
        """See `Problem.gradient`."""

    def together(self, estimator: Estimator, one: Replicates) -> int:
        """See `Problem.together`."""


def named(estimators: Sequence[Estimator] | Mapping[str, Estimator]) -> dict[str, Estimator]:
    """Estimators by name: their own, numbered where several have the same."""
    if isinstance(estimators, Mapping):
        return dict(estimators)
    if isinstance(estimators, Estimator) or not isinstance(estimators, Iterable):
        raise TypeError(f"estimators come in a list, such as [RLOO(2)], or a mapping from names; not {estimators!r}.")
    by_name: dict[str, Estimator] = {}
    for estimator in estimators:
        name, number = type(estimator).__name__, 2
        while name in by_name:
            name, number = f"{type(estimator).__name__} ({number})", number + 1
        by_name[name] = estimator
    return by_name


def keep_freed_memory() -> None:
    """Have this process keep the blocks it frees for its next ones, as it does once a large tensor was freed.

    glibc's malloc hands freed memory back to the system where it is more than twice the largest block that was freed
    so far. What f made for every call would come and go like that, page by page, which can take as long as f. Of other
    allocators, and of devices with their own, nothing is asked.
    """
    torch.empty(KEPT, dtype=torch.uint8, device="cpu")


def _element_by_element(estimator: Estimator) -> bool:
    """Whether a batch element's gradient knows nothing of the others, so that replicates can be batch elements."""
    if isinstance(estimator, Pathwise):
        temperature = getattr(estimator.path, "temperature", 1.0)
        return not (isinstance(temperature, Tensor) and temperature.ndim)  # which may belong to batch elements
    if not isinstance(estimator, Composition) or estimator.coupling.whole is not estimator.coupling:
        return False
    control_variate = estimator.control_variate
    parts = control_variate.parts if isinstance(control_variate, Chain) else (control_variate,)
    if any(isinstance(one, _BatchNorm) and one.training for part in estimator.learners for one in part.modules()):
        return False
    return not any(isinstance(part, BatchLeaveOneOut) for part in parts)


def _of_batch(context: Any, logits: Tensor) -> bool:
    return isinstance(context, Tensor) and context.shape[:1] == logits.shape[:1]


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
