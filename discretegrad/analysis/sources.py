"""Where replicates of a gradient come from: a function of points and logits, or the user's own training step.

A source says what the gradient is with respect to (layers by name), draws replicates of it under an estimator, several
at once where that is possible, and knows the exact gradient where the values can be enumerated. All randomness comes
from torch's default generators, which the caller seeds and restores.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from discretegrad import checks
from discretegrad.analysis.digest import AtLevel, digest, reproduced, tensors_in, weights
from discretegrad.analysis.replicator import ENTRIES, Problem, Replicates, level
from discretegrad.core import Estimator
from discretegrad.draw import Draw
from discretegrad.estimators import RLOO, Exact

ENUMERATED = 2**24
"""The most entries of points over which the exact gradient of a function is summed, part by part."""
AT_ONCE = 2**20
"""As many for a step, which makes and keeps them all at once."""


class Source(ABC):
    """Replicates of a gradient."""

    layers: dict[str, torch.Size]
    """What the gradient is with respect to."""
    device: torch.device

    @property
    def sizes(self) -> dict[str, int]:
        """The entries of each layer."""
        return {name: shape.numel() for name, shape in self.layers.items()}

    @abstractmethod
    def gradient(self, estimator: Estimator, together: int = 1, batch_dims: int = 0) -> Replicates:
        """`[R, D]` over all layers; see `Problem.gradient`."""

    @abstractmethod
    def together(self, estimator: Estimator, one: Replicates) -> int:
        """How many replicates should be drawn at once, from what one took."""

    @abstractmethod
    def exact(self, latent: str) -> Tensor | None:
        """The true gradient `[D]`, float64; None where there are too many values to enumerate.

        Raises:
            ValueError: where f is not a function of the points.
        """

    @abstractmethod
    def signature(self, latent: str) -> Tensor:
        """Digests by which a problem is known again, `[N, 4]`."""

    @property
    def mixes(self) -> bool:
        """Whether f was seen to mix the points of a call, for which nothing is unbiased."""
        return False

    @abstractmethod
    def look(self, latent: str) -> str | None:
        """Learn how many replicates can be drawn at once, before any is; returns what the user should know of it."""

    @abstractmethod
    def refuse(self, latent: str) -> None:
        """Raise for input that cannot be meant, before any estimator is tried."""


class OfFunction(Source):
    """The gradient of `E f`, summed over the batch, w.r.t. the logits or to what they were made from.

    Args:
        problem: f, the logits with their graph if there is one, and what else a call of an estimator takes.
        wrt: tensors behind the logits, by name; None for the logits. Only what reaches them through the logits counts.
    """

    def __init__(self, problem: Problem, wrt: Mapping[str, Tensor] | None = None) -> None:
        self.problem = replace(problem, logits=problem.logits.detach())
        self.logits, self.wrt = problem.logits, wrt
        self._batched = True
        """Whether several gradients can be pulled back through the logits' graph at once."""
        self.device = problem.logits.device
        self.layers = (
            {"logits": problem.logits.shape} if wrt is None else {name: tensor.shape for name, tensor in wrt.items()}
        )

    def refuse(self, latent: str) -> None:
        """Logits that no variable can have are refused, and layers that do not depend on the logits."""
        checks.logits(self.problem.logits, checks.named_latent(latent), self.problem.mask, validate=None)
        if self.wrt is not None and not self.logits.requires_grad:
            raise ValueError(
                "the logits have no graph that leads to wrt; compute them from it with gradients enabled, and do not "
                "detach them."
            )

    def look(self, latent: str) -> str | None:
        known = self.problem.look(latent)
        self.problem = replace(self.problem, known=known)
        if known.alone is None:
            return None
        return f"{known.alone}; so every replicate has a call of its own, and the truth is no enumeration."

    @property
    def mixes(self) -> bool:
        return self.problem.known.mixes

    def gradient(self, estimator: Estimator, together: int = 1, batch_dims: int = 0) -> Replicates:
        """The gradient is w.r.t. the logits, pulled back through their graph."""
        found = self.problem.gradient(estimator, together, batch_dims)
        if self.wrt is None:
            return found
        return found._replace(gradients=self._pulled_back(found.gradients))

    def _pulled_back(self, gradients: Tensor) -> Tensor:
        assert self.wrt is not None
        behind = list(self.wrt.values())

        def of(gradient: Tensor, batched: bool) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(
                self.logits, behind, gradient, retain_graph=True, allow_unused=True, is_grads_batched=batched
            )

        each = gradients.reshape(-1, *self.logits.shape)
        if self._batched and len(each) > 1:
            try:
                return _flat(of(each, True), behind, (len(each),))
            except Exception:  # such as of a function of the encoder that knows no vmap; others come again
                self._batched = False
        return torch.cat([_flat(of(gradient, False), behind, (1,)) for gradient in each])

    def together(self, estimator: Estimator, one: Replicates) -> int:
        """So many replicates are drawn at a time that neither points nor gradients have more than `ENTRIES` entries."""
        return max(1, min(self.problem.together(estimator, one), ENTRIES // max(1, one.gradients.shape[1])))

    def exact(self, latent: str) -> Tensor | None:
        """All values that the variables of one batch element can have are enumerated."""
        if self.problem.known.alone is not None:
            return None
        leaf = self.problem.logits.clone().requires_grad_()
        kind = checks.named_latent(latent)
        draw = RLOO(2, latent).sample(leaf, mask=self.problem.mask)
        values = self.problem.values(self.problem.inputs(draw))
        checks.values(values, 2, draw.variables)
        batch_dims = values.ndim - 1
        event = draw.variables[batch_dims:]
        categories = leaf.shape[-1] if kind.rank else 2
        # Compared as logarithms: the number itself may have thousands of digits.
        if math.prod(event) * math.log(categories) + math.log(max(1, leaf.numel())) > math.log(ENUMERATED):
            return None
        estimator = Exact(len(event), latent=latent)
        draw = estimator.sample(leaf, mask=self.problem.mask)
        parts = self.problem.inputs(draw).split(max(1, ENTRIES // max(1, leaf.numel())))
        values = torch.cat([self.problem.values(part) for part in parts])
        (gradient,) = torch.autograd.grad(estimator.surrogate(draw, values).sum(), leaf)
        flat = gradient.reshape(1, -1)
        return (flat if self.wrt is None else self._pulled_back(flat)).squeeze(0).double()

    def signature(self, latent: str) -> Tensor:
        """What tells problems apart: the logits, f at two points that are fixed, what else it takes, and wrt."""
        problem, wrt = self.problem, self.wrt
        mask = None if problem.mask is None else problem.mask.cpu()
        # On the CPU, for the same points on every machine.
        draw = RLOO(2, latent).sample(level(problem.logits.cpu()), torch.Generator().manual_seed(0), mask)
        inputs = problem.inputs(draw).to(self.device)
        along = weights(problem.logits.numel()).to(problem.logits).unsqueeze(0)
        rows = [digest([problem.logits]), digest(tensors_in(mask)), digest(tensors_in(problem.context))]
        rows.append(digest([torch.tensor(problem.on == "ids", device="cpu")]))
        rows.append(reproduced(self.device, problem.f, lambda: problem.values(inputs)))
        if wrt is not None:
            rows += [digest(wrt.values()), reproduced(self.device, None, lambda: self._pulled_back(along))]
        return torch.stack(rows)


class OfStep(Source):
    """The gradient of a loss that the user's own code computes with the estimator it is handed.

    Args:
        step: from an estimator to a loss, whatever its shape; summed.
        wrt: what the gradient is with respect to, by name.
    """

    def __init__(self, step: Callable[[Estimator], Tensor], wrt: Mapping[str, Tensor]) -> None:
        self.step, self.wrt = step, wrt
        self.layers = {name: tensor.shape for name, tensor in wrt.items()}
        self.device = next(iter(wrt.values())).device

    def refuse(self, latent: str) -> None:
        """Nothing is refused: the step knows best."""

    def look(self, latent: str) -> str | None:
        return None

    def gradient(self, estimator: Estimator, together: int = 1, batch_dims: int = 0) -> Replicates:
        """One replicate is drawn, whatever `together` says: nothing is known of what the step does besides."""
        same, seen = witnessed(estimator)
        loss = self.step(same)
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            found = "one without a graph" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise ValueError(f"the step must return a loss with a graph, not {found}.")
        gradient = torch.autograd.grad(loss.sum(), list(self.wrt.values()), allow_unused=True)
        return Replicates(
            _flat(gradient, list(self.wrt.values()), (1,)), sum(draw.evaluations for draw in seen.draws), 1, 0
        )

    def together(self, estimator: Estimator, one: Replicates) -> int:
        return 1

    def exact(self, latent: str) -> Tensor | None:
        """The step is run with all values enumerated, where it makes one draw of few enough variables."""
        same, seen = witnessed(RLOO(2, latent))
        self.step(same)
        if len(seen.draws) != 1 or len(seen.values) != 1:
            return None
        draw = seen.draws[0]
        event = draw.variables[seen.values[0].ndim - 1 :]
        categories = draw.logits.shape[-1] if draw.latent.rank else 2
        entries = math.log(max(1, draw.logits.numel()))
        if math.prod(event) * math.log(categories) + entries > math.log(AT_ONCE):
            return None
        exact = Exact(len(event), latent=latent)
        once, again = (self.gradient(exact).gradients.squeeze(0).double() for _ in range(2))
        if not torch.allclose(once, again, rtol=1e-4, atol=1e-6 * float(once.abs().max())):
            raise ValueError(
                "the step is random beside the estimator: two calls with all values enumerated differ; the truth is a "
                "long run then. Fix the batch, and put modules with dropout into eval()."
            )
        return once

    def signature(self, latent: str) -> Tensor:
        """What tells problems apart: the parameters, and a gradient at points that do not depend on them."""

        def gradient() -> Tensor:
            return self.gradient(AtLevel(2, latent=latent)).gradients

        return torch.stack((digest(self.wrt.values()), reproduced(self.device, self.step, gradient)))


class Seen(NamedTuple):
    """What a step did with its estimator."""

    draws: list[Draw]
    values: list[Tensor]


def witnessed(estimator: Estimator) -> tuple[Estimator, Seen]:
    """A copy, and what it and those that replace it are going to draw and be told."""
    seen = Seen([], [])

    def follow(own: Estimator) -> Estimator:
        def sample(*args: Any, **kwargs: Any) -> Draw:
            seen.draws.append(own.sample(*args, **kwargs))
            return seen.draws[-1]

        def surrogate(draw: Draw, values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            seen.values.append(values)
            return own.surrogate(draw, values, *args, **kwargs)

        def replace(**changes: Any) -> Estimator:
            return follow(own.replace(**changes))

        same = copy.copy(own)
        vars(same).update(sample=sample, surrogate=surrogate, replace=replace)  # what its other methods call, too
        return same

    return follow(estimator), seen


def tensors_of(wrt: nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a module that learn, or the tensors of a mapping, by name."""
    found = dict(wrt.named_parameters()) if isinstance(wrt, nn.Module) else dict(wrt)
    found = {name: tensor for name, tensor in found.items() if tensor.requires_grad}
    if not found:
        raise ValueError("none of the parameters that the gradient is asked for has requires_grad=True.")
    return found


def _flat(gradients: tuple[Tensor | None, ...], tensors: list[Tensor], batch: tuple[int, ...]) -> Tensor:
    """`[*batch, D]`, zero for tensors that were not reached."""
    rows = [
        tensor.new_zeros(*batch, tensor.numel()) if gradient is None else gradient.reshape(*batch, -1)
        for gradient, tensor in zip(gradients, tensors, strict=True)
    ]
    return torch.cat(rows, -1)
