"""The two-phase API and the composition. Read this file first.

An estimator of the gradient of E_{z ~ q(logits)}[f(z)] works in two phases, so that f stays the user's own code:

    draw   = estimator.sample(logits)            # the only randomness
    values = f(draw.points)                      # called once, on S stacked points
    loss   = estimator.surrogate(draw, values)   # its value estimates E f, its gradient is the estimator's

`Composition` is all estimators that only need values of f: a coupling (the joint law of the points), weights
(what multiplies the values) and a control variate (what is subtracted first). `Pathwise` is those whose points
carry the gradient themselves. The named algorithms in `estimators.py` fill these slots and add nothing.

Sizes: S evaluations, C categories; `*variables` = `*batch, *event` is the logits' shape without the categories.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.control_variate import ControlVariate
from discretegrad.coupling import Coupling, require_count
from discretegrad.latent import Latent, one_hot
from discretegrad.pathwise import Path
from discretegrad.weights import Weights, weigh


@dataclass(frozen=True, eq=False, repr=False)
class Draw:
    """What was drawn: all that the second phase needs to know of the first."""

    logits: Tensor
    """The user's logits, with their graph."""
    indices: Tensor
    """int64 category ids `[S, *variables]`; 0 where a variable is masked off."""
    latent: Latent
    mask: Tensor | None = None
    """True where a variable takes part; broadcastable to `[*variables]`."""
    relaxed: Tensor | None = None
    """One-hots that carry the gradient, `[S, *variables, C]`, where the estimator makes such."""
    coupling: Coupling | None = None
    """The joint law that the points were drawn from; None where the user vouches for it."""
    plan: Any = None
    """The coupling's preparation, kept so that the second phase need not repeat it."""
    _points: Tensor | None = field(default=None, init=False)

    @property
    def points(self) -> Tensor:
        """What f is called with, in the logits' dtype: one-hots `[S, *variables, C]`, or {0, 1} `[S, *variables]`.

        Made when first asked for, once: an f on ids (`indices`) never pays for them. Zero where masked off.
        """
        points = self._points
        if points is None:
            one_hots = self.relaxed
            if one_hots is None:
                categories = self.logits.shape[-1] if self.latent.rank else 2
                one_hots = one_hot(self.indices, categories, self.logits.dtype)
            if self.mask is not None:
                one_hots = torch.where(self.mask.unsqueeze(-1), one_hots, 0.0)
            points = self.latent.points(one_hots)
            # functools.cached_property would do, but its lock stops torch.compile before Python 3.12.
            object.__setattr__(self, "_points", points)
        return points

    @property
    def variables(self) -> torch.Size:
        """The logits' shape without the categories."""
        return self.logits.shape[: self.logits.ndim - self.latent.rank]

    def __repr__(self) -> str:
        return f"Draw({self.indices.shape[0]} points of {tuple(self.variables)} {self.latent.name} variables)"


@dataclass(frozen=True)
class Estimator(ABC):
    """An immutable recipe for the gradient of an expectation over discrete latents; it holds no hidden state."""

    latent: str
    """"categorical" or "bernoulli"."""

    @property
    @abstractmethod
    def unbiased(self) -> bool:
        """Whether the gradient's mean is the gradient of E f, for every f and all logits."""

    @property
    @abstractmethod
    def evaluations(self) -> int | None:
        """S, the evaluations of f; None where it depends on the logits' shape."""

    @property
    @abstractmethod
    def needs_grad_f(self) -> bool:
        """Whether f must be differentiable in its points."""

    @abstractmethod
    def sample(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        validate: bool | None = None,
    ) -> Draw:
        """Phase 1: draw the points. All randomness is here.

        Args:
            logits: categorical `[*batch, *event, C]` (-inf forbids a category), or Bernoulli `[*batch, *event]`.
            generator: source of the noise; the default one of the logits' device if None.
            mask: boolean, broadcastable to `[*batch, *event]`; a variable where it is False has id 0, points 0
                and gradient 0, whatever its logits.
            validate: look for NaN and for variables without a category; by default on CPU tensors only.

        Raises:
            TypeError, ValueError: for logits or a mask that cannot be meant.
        """

    @abstractmethod
    def surrogate(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """Phase 2: the estimate of E f, `[*batch]`, that carries the estimator's gradient.

        Its gradient w.r.t. the logits is the estimator's; w.r.t. everything else that the values depend on it is
        the gradient of the plain (weighted) average of the values.

        Args:
            draw: from `sample`.
            values: f at the points, `[S, *batch]`; or with further dimensions of the logits behind, for costs
                that are local to them. Whatever of the logits' dimensions is left shares the value.
            context: what a learned baseline looks at; by default the logits.

        Raises:
            TypeError, ValueError: for values that do not belong to the draw.
        """

    def __call__(
        self,
        f: Callable[[Tensor], Tensor],
        logits: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        context: Any = None,
    ) -> Tensor:
        """Both phases at once, for an f of the points."""
        draw = self.sample(logits, generator, mask)
        return self.surrogate(draw, f(draw.points), context)


@dataclass(frozen=True)
class Composition(Estimator):
    """An estimator from a coupling, weights and a control variate; wrong cells are refused when it is built.

    Args:
        coupling: the joint law of the points.
        weights: what multiplies the values, or their differences.
        control_variate: what is subtracted from the values first: None, `LeaveOneOut()`, or a baseline.
        latent: "categorical" or "bernoulli".

    Example:
        >>> import discretegrad as dg
        >>> dg.Composition(dg.Independent(4), dg.Score(), dg.LeaveOneOut()).unbiased
        True
    """

    coupling: Coupling
    weights: Weights
    control_variate: ControlVariate | None

    def __init__(
        self,
        coupling: Coupling,
        weights: Weights,
        control_variate: ControlVariate | None = None,
        latent: str = "categorical",
    ) -> None:
        for name, value in (
            ("latent", latent),
            ("coupling", coupling),
            ("weights", weights),
            ("control_variate", control_variate),
        ):
            object.__setattr__(self, name, value)
        checks.named_latent(latent)
        weights.refuse(coupling)
        if control_variate is not None:
            if weights.differences:
                raise ValueError(
                    f"{type(weights).__name__} weights multiply differences of values, in which what "
                    f"{type(control_variate).__name__} subtracts cancels; use control_variate=None."
                )
            control_variate.refuse(coupling)

    @property
    def unbiased(self) -> bool:
        """As the weights are on this coupling."""
        return self.weights.unbiased(self.coupling)

    @property
    def evaluations(self) -> int | None:
        """As many as the coupling has points."""
        return self.coupling.evaluations

    @property
    def needs_grad_f(self) -> bool:
        """No: values suffice."""
        return False

    def sample(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        validate: bool | None = None,
    ) -> Draw:
        """Draw ids from the coupling."""
        latent = checks.named_latent(self.latent)
        checks.logits(logits, latent, mask, validate)
        with torch.no_grad():
            plan = self.coupling.plan(_category_logits(logits, latent, mask))
            indices = self.coupling.sample(plan, generator)
        return Draw(logits, indices, latent, mask, coupling=self.coupling, plan=plan)

    def surrogate(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """Attach the gradient to the average of the values."""
        if draw.relaxed is not None or draw.coupling not in (None, self.coupling) or draw.latent.name != self.latent:
            raise ValueError(
                f"this draw was made by another estimator, whose points do not have the law that "
                f"{type(self).__name__} needs; call sample and surrogate of the same estimator."
            )
        checks.values(values, draw.indices.shape[0], draw.variables)
        with torch.no_grad():
            plan = draw.plan
            if plan is None:
                plan = self.coupling.plan(_category_logits(draw.logits, draw.latent, draw.mask))
            value_weights = self.coupling.value_weights(plan, draw.indices)
            if value_weights is not None:
                checks.joint_values(values, value_weights)
                value_weights = _append_dims(value_weights, values.ndim)
            gradient = self._gradient(draw, plan, values.detach(), value_weights, context)
        average = values.mean(0) if value_weights is None else weigh(value_weights.to(values.dtype), values).sum(0)
        return attach_gradient(_switch_off(average, draw.mask, draw.variables), draw.logits, gradient)

    def _gradient(self, draw: Draw, plan: Any, values: Tensor, value_weights: Tensor | None, context: Any) -> Tensor:
        values = values.to(torch.promote_types(values.dtype, plan.probs.dtype))
        if self.control_variate is not None:
            values = self.control_variate.subtract_from(values, draw, context)
        dims = draw.indices.ndim
        gradient = self.weights.gradient(
            plan,
            draw.indices,
            _append_dims(values, dims),
            None if value_weights is None else _append_dims(value_weights, dims),
            centred=self.control_variate is not None and self.control_variate.centred,
        )
        if draw.mask is not None:
            gradient = torch.where(draw.mask.unsqueeze(-1), gradient, 0.0)
        return draw.latent.pull_back(gradient).to(draw.logits.dtype)


@dataclass(frozen=True)
class Pathwise(Estimator):
    """An estimator whose points carry the gradient: f must be differentiable in them, and there is a bias.

    Args:
        path: how points are made from logits and noise.
        num_samples: S.
        latent: "categorical" or "bernoulli".
    """

    path: Path
    num_samples: int

    def __init__(self, path: Path, num_samples: int = 1, latent: str = "categorical") -> None:
        for name, value in (("latent", latent), ("path", path), ("num_samples", num_samples)):
            object.__setattr__(self, name, value)
        checks.named_latent(latent)
        require_count(num_samples, "num_samples")

    @property
    def unbiased(self) -> bool:
        """No."""
        return False

    @property
    def evaluations(self) -> int:
        """S."""
        return self.num_samples

    @property
    def needs_grad_f(self) -> bool:
        """Yes."""
        return True

    def sample(
        self,
        logits: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        validate: bool | None = None,
    ) -> Draw:
        """Make points that carry the gradient."""
        latent = checks.named_latent(self.latent)
        checks.logits(logits, latent, mask, validate)
        category_logits = _category_logits(logits, latent, mask)
        relaxed, indices = self.path.sample(category_logits, self.num_samples, generator)
        return Draw(logits, indices, latent, mask, relaxed=relaxed.to(logits.dtype))

    def surrogate(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """The plain average."""
        if draw.relaxed is None:
            raise ValueError(
                f"this draw was made by another estimator, whose points do not carry the gradient as those of "
                f"{type(self).__name__} do; call sample and surrogate of the same estimator."
            )
        checks.values(values, draw.indices.shape[0], draw.variables)
        checks.gradient_of_f(values, draw.logits, type(self).__name__)
        return _switch_off(values.mean(0), draw.mask, draw.variables)


def attach_gradient(value: Tensor, logits: Tensor, gradient: Tensor) -> Tensor:
    """Return `value` with `gradient` as its gradient w.r.t. `logits`, beside the graph that `value` has already.

    Args:
        value: `[*batch]`.
        logits: begins with `*batch`.
        gradient: of the logits' shape and dtype; entry b is the gradient of `value[b]`.

    Returns:
        `[*batch]`. Differentiating its gradient once more is refused with a sentence.
    """
    return _AttachGradient.apply(value, logits, gradient)


class _AttachGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, logits: Tensor, gradient: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        _, logits, gradient = inputs
        ctx.save_for_backward(logits, gradient)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None]:
        logits, gradient = ctx.saved_tensors
        scaled = _append_dims(grad_output.to(gradient.dtype), gradient.ndim) * gradient
        return grad_output, _RefuseDoubleBackward.apply(scaled, logits), None


class _RefuseDoubleBackward(torch.autograd.Function):
    """Hand the gradient on as a function of the logits, which it is, whose derivative is not to be had."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, logits: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError(
            "the estimated gradient cannot be differentiated again: it is a random draw whose own derivative is not "
            "an estimate of the second derivative of E f. For small problems discretegrad.exact.expectation is "
            "differentiable as often as you like."
        )


def _category_logits(logits: Tensor, latent: Latent, mask: Tensor | None) -> Tensor:
    """Category logits `[*variables, C]` in at least float32; a masked-off variable is certain to be category 0."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    logits = logits.to(wide)
    if mask is not None:
        # Padding may hold anything, NaN included, and must not reach the arithmetic.
        logits = torch.where(mask.unsqueeze(-1) if latent.rank else mask, logits, 0.0)
    categories = latent.category_logits(logits)
    if mask is None:
        return categories
    certain = torch.full_like(categories[..., :1], 0.0)
    certain = torch.cat((certain, torch.full_like(categories[..., 1:], -torch.inf)), -1)
    return torch.where(mask.unsqueeze(-1), categories, certain)


def _append_dims(tensor: Tensor, ndim: int) -> Tensor:
    return tensor.reshape(tensor.shape + (1,) * (ndim - tensor.ndim))


def _switch_off(average: Tensor, mask: Tensor | None, variables: torch.Size) -> Tensor:
    """Zero where the estimate is local to variables that are masked off."""
    if mask is None or average.shape != variables:
        return average
    return torch.where(mask, average, 0.0)
