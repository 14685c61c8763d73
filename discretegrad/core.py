"""The composition, and the estimators on a path. Read this file first.

An estimator of the gradient of E_{z ~ q(logits)}[f(z)] is a sentence:

    DisARM = Tree + RaoBlackwell                   antithetic pairs, weighed by their differences
    RLOO   = Independent + Score + LeaveOneOut     independent points, weighed by their scores, less the others' mean
    REBAR  = Independent + Score + Relaxed         the same, less f between the one-hots, whose gradient is added back

`Composition` is all of that kind: a coupling (the joint law of the points), weights (what multiplies the values of f)
and a control variate (what is subtracted first, with or without the gradient of f, and added back in closed form).
A coupling's `draw` returns an object of its own, which its weights ask; nobody else knows what is in it. `Pathwise` is
those whose points carry the gradient themselves. The named algorithms in `estimators/` fill these slots and add
nothing; what every estimator has is in `estimator.py`.

Sizes: S evaluations, C categories; `*variables` = `*batch, *event` is the logits' shape without the categories.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Self

import torch
from torch import Tensor, nn

from discretegrad import checks
from discretegrad.autograd import NO_GRAPH, append_dims, attach_gradient, attach_gradient_later
from discretegrad.control_variate import Chain, ControlVariate, Evaluation, LeaveOneOut, less, wants_points
from discretegrad.coupling import Coupling, Drawn
from discretegrad.draw import Draw, category_logits, category_logits_below_zero
from discretegrad.estimator import Estimator as Estimator
from discretegrad.frozen import Made, frozen
from discretegrad.latent import Latent
from discretegrad.objectives import MEAN, Objective
from discretegrad.ops.centre import centre, has_kernel
from discretegrad.ops.dispatch import has_entries
from discretegrad.ops.layout import only_where
from discretegrad.pathwise import OnPath, Path
from discretegrad.weights import AnyWeights

NOTHING = ControlVariate()
"""What takes the place of a control variate where there is none."""


@frozen
class Composition(Estimator):
    """An estimator from a coupling, weights and a control variate; wrong cells are refused when it is built.

    Args:
        coupling: the joint law of the points.
        weights: what multiplies the values, or their differences.
        control_variate: what is subtracted from the values first: None, `LeaveOneOut()`, a baseline, ...; several
            in a tuple are subtracted one after the other.
        latent: "categorical" or "bernoulli".
        objective: what the values are joined to, over S: by default their mean.

    Example:
        >>> import discretegrad as dg
        >>> dg.Composition(dg.Independent(4), dg.Score(), dg.LeaveOneOut()).unbiased
        True
    """

    coupling: Coupling
    weights: AnyWeights
    control_variate: ControlVariate | None
    objective: Objective

    _whole: Coupling = dataclasses.field(init=False, repr=False)
    """The coupling of all points."""
    _waits: bool = dataclasses.field(init=False, repr=False)
    """Whether the gradient is made in the backward pass, where that can be."""
    _bare: bool = dataclasses.field(init=False, repr=False)
    """Whether nothing is wanted besides the values, and no slot is a module, whose parameters would make graphs."""
    _centres: bool = dataclasses.field(init=False, repr=False)
    """Whether all that happens to the values of points that count alike is what `ops.centre` does."""

    def __init__(
        self,
        coupling: Coupling,
        weights: AnyWeights,
        control_variate: ControlVariate | tuple[ControlVariate, ...] | None = None,
        latent: str = "categorical",
        objective: Objective | None = None,
    ) -> None:
        if isinstance(control_variate, tuple):
            control_variate = Chain(control_variate) if len(control_variate) > 1 else next(iter(control_variate), None)
        checks.named_latent(latent)
        self._set(latent=latent, coupling=coupling, weights=weights, control_variate=control_variate)
        self._set(objective=MEAN if objective is None else objective, _whole=coupling.whole)
        self._refuse()
        self._state_facts()

    def _refuse(self) -> None:
        """Raise a ValueError where slots do not fit together."""
        coupling, weights, control_variate = self._whole, self.weights, self.control_variate
        weights.refuse(coupling)
        self.objective.refuse(coupling, weights, control_variate)
        if control_variate is None:
            return
        if weights.differences and control_variate.constant:
            raise ValueError(
                f"{type(weights).__name__} weights multiply differences of values, in which what "
                f"{type(control_variate).__name__} subtracts cancels; use control_variate=None."
            )
        control_variate.refuse(coupling)
        if coupling is not self.coupling and (control_variate.needs_grad_f or wants_points(control_variate)):
            raise ValueError(
                f"{type(control_variate).__name__} asks for more than the values at the coupling's points, which "
                f"{type(self.coupling).__name__} evaluates once where they are equal; use distinct=False."
            )

    def _state_facts(self) -> None:
        points = self.coupling.evaluations
        control_variate = NOTHING if self.control_variate is None else self.control_variate
        parts = control_variate.parts if isinstance(control_variate, Chain) else (control_variate,)
        learners = tuple(slot for slot in (*parts, *vars(self.weights).values()) if isinstance(slot, nn.Module))
        self._set(
            _waits=self.weights.can_wait(self._whole),
            _centres=type(self.objective) is Objective
            and (control_variate == LeaveOneOut() or (self.control_variate is None and self.weights.differences)),
            _bare=not (control_variate.needs_grad_f or learners) and type(control_variate).add is ControlVariate.add,
            unbiased=self.weights.unbiased(self._whole) and control_variate.unbiased,
            evaluations=None if points is None else points + control_variate.extra_evaluations(points),
            needs_grad_f=control_variate.needs_grad_f,
            takes_ids=not (control_variate.needs_grad_f or control_variate.extra_evaluations(1)),
            of_bound=type(self.objective) is not Objective,
            learners=learners,
        )

    def replace(self, **changes: Any) -> Self:
        made = super().replace(**changes)
        own = self.control_variate
        if isinstance(own, Made) and own.made_alike(made.control_variate):  # what has learned something goes on
            made._set(control_variate=own)
            made._state_facts()
        return made

    def _draw(
        self,
        logits: Tensor,
        latent: Latent,
        mask: Tensor | None,
        generator: torch.Generator | None,
        validate: bool | None,
    ) -> Draw:
        own = category_logits(logits.detach(), latent, None)
        self.weights.refuse_size(self._whole, own)
        check = functools.partial(checks.probabilities, logits, latent, mask, validate)
        draw = Draw(logits, self.coupling.draw(own, mask, generator, check), latent)
        return draw if self._bare or self.control_variate is None else self._with(draw, generator, self.control_variate)

    @torch.no_grad()
    def complete(self, draw: Draw, generator: torch.Generator | None = None) -> Draw:
        """Add to a draw of points that are given what the control variate asks for besides."""
        draw = self._own(draw)
        return draw if self.control_variate is None else self._with(draw, generator, self.control_variate)

    @torch.no_grad()
    def _with(self, draw: Draw, generator: torch.Generator | None, control_variate: ControlVariate) -> Draw:
        added = control_variate.add(draw, generator)
        return draw if added is None else dataclasses.replace(draw, added=added)

    def _own(self, draw: Draw) -> Draw:
        """The same draw, whose points the coupling knows."""
        if draw.drawn.coupling is not None:
            return draw
        own = category_logits(draw.logits.detach(), draw.latent, None)
        return dataclasses.replace(draw, drawn=self.coupling.at(own, draw.drawn.mask, draw.drawn.indices))

    def _drew(self, draw: Draw) -> bool:
        drawn, known = draw.drawn, (self.coupling, None, self._whole)
        return drawn.relaxed is None and drawn.coupling in known and draw.latent.name == self.latent

    def _surrogate(self, draw: Draw, values: Tensor, context: object, validate: bool | None) -> Tensor:
        if draw.drawn.coupling is None or draw.drawn.distinct is not None:
            draw, values = self._at_all(draw, values)
        drawn, points = draw.drawn, draw.drawn.indices.shape[0]
        own = values if values.shape[0] == points else values[:points]
        value_weights = drawn.value_weights()
        if self._waits and self._centres and value_weights is None and has_kernel(values, draw.logits, drawn.logits):
            average, left, finite = centre(values.detach(), drawn.indices.ndim, self.control_variate is not None)
            if not finite:
                checks.not_nan(average, validate)
            gradient = functools.partial(self._gradient, draw.latent, drawn, left, None)
            return attach_gradient_later(values, draw.logits, gradient, drawn.indices, average=average)
        if value_weights is not None:
            checks.joint_values(own, value_weights)
            value_weights = append_dims(value_weights, own.ndim)
        average = self.objective.combine(own, value_weights)
        checks.not_nan(average.detach(), validate)
        if own is not values:
            checks.not_nan(values[points:].detach(), validate)
        grad_f = None
        if self.needs_grad_f:
            if not (torch.is_grad_enabled() and draw.logits.requires_grad):
                return average
            grad_f = draw.grad_f(values, type(self).__name__)
        wide = values.detach().to(torch.promote_types(values.dtype, drawn.logits.dtype))
        with NO_GRAPH if self._bare else torch.no_grad():
            left, added_back = self._left(draw, wide, grad_f, context, value_weights)
            gradient = functools.partial(self._gradient, draw.latent, drawn, left, added_back)
            now = None if self._waits and has_entries(draw.logits) and has_entries(values) else gradient()
        if now is None:
            return attach_gradient_later(average, draw.logits, gradient, drawn.indices, left)
        return attach_gradient(average, draw.logits, now)

    def _at_all(self, draw: Draw, values: Tensor) -> tuple[Draw, Tensor]:
        """The coupling's own points, all of them, and the values there."""
        if draw.drawn.coupling is None:
            with torch.no_grad():  # no decorator, which torch.compile does not see through here
                draw = self._own(draw)
        if draw.drawn.distinct is None:
            return draw, values
        drawn, values = draw.drawn.whole(values)
        return dataclasses.replace(draw, drawn=drawn), values

    def _left(
        self, draw: Draw, values: Tensor, grad_f: Tensor | None, context: object, value_weights: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What a control variate leaves of the values, broadcastable to the ids, and what it adds to the gradient."""
        points, control_variate = draw.drawn.indices, self.control_variate
        own, extra = values[: points.shape[0]], values[points.shape[0] :]
        evaluation = Evaluation(draw, self.objective.signals(own), extra, grad_f, context)
        constant = self._constant_of(evaluation, value_weights)
        if constant is not None:
            evaluation = less(evaluation, constant)
        if control_variate is None:
            return append_dims(evaluation.values, points.ndim), None
        left, added_back = control_variate.subtract_from(evaluation)
        return append_dims(left, points.ndim), added_back

    def _constant_of(self, evaluation: Evaluation, value_weights: Tensor | None) -> Tensor | None:
        """What is taken off all values before anything is averaged, where a constant cancels: one of them.

        Then equal values leave exactly nothing, and others the rounding of their differences, not of themselves.
        """
        values = evaluation.values
        if self.weights.differences:
            return values[:1]
        if self._whole.exhaustive and value_weights is not None:  # that of the most probable: it is no matter of luck
            return values.gather(0, value_weights.expand(values.shape).argmax(0, keepdim=True))
        return None if self.control_variate is None else self.control_variate.constant_of(evaluation)

    def _gradient(
        self, latent: Latent, drawn: Drawn, values: Tensor, added_back: Tensor | None, scale: Tensor | None = None
    ) -> Tensor:
        """The gradient w.r.t. the user's logits, times numbers `[*batch]` where there are some."""
        if scale is not None:
            scale = scale.to(values.dtype)
            values = values * append_dims(scale, values.ndim - 1)
            added_back = None if added_back is None else append_dims(scale, added_back.ndim) * added_back
        control_variate = self.control_variate
        gradient = self.weights.gradient(drawn, values, control_variate is not None and control_variate.centred)
        if added_back is not None:
            gradient = gradient + added_back
        if drawn.mask is not None:
            gradient = only_where(drawn.mask, gradient)
        return latent.pull_back(gradient)


@frozen
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
        checks.named_latent(latent)
        checks.count(num_samples, "num_samples")
        self._set(latent=latent, path=path, num_samples=num_samples, evaluations=num_samples, learners=())
        self._set(unbiased=False, needs_grad_f=True, takes_ids=False, of_bound=False)

    def _draw(
        self,
        logits: Tensor,
        latent: Latent,
        mask: Tensor | None,
        generator: torch.Generator | None,
        validate: bool | None,
    ) -> Draw:
        checks.probabilities(logits, latent, mask, validate)
        variables = logits.shape[: logits.ndim - latent.rank]
        checks.temperature_of_variables(getattr(self.path, "temperature", 1.0), variables)
        own = category_logits_below_zero(logits, latent, mask)
        relaxed, indices = self.path.sample(own, self.num_samples, generator)
        return Draw(logits, OnPath(indices, own.detach(), mask, relaxed.to(logits.dtype), self.path), latent)

    def _drew(self, draw: Draw) -> bool:
        drawn = draw.drawn
        return isinstance(drawn, OnPath) and drawn.path in (None, self.path) and draw.latent.name == self.latent

    def _surrogate(self, draw: Draw, values: Tensor, context: object, validate: bool | None) -> Tensor:
        wanted = torch.is_grad_enabled() and draw.logits.requires_grad
        checks.gradient_of_f(values.requires_grad or not wanted, type(self).__name__)
        average = values.mean(0)
        checks.not_nan(average.detach(), validate)
        return average
