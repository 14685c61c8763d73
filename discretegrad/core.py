"""The two-phase API and the composition. Read this file first.

An estimator of the gradient of E_{z ~ q(logits)}[f(z)] works in two phases, so that f stays the user's own code:

    draw   = estimator.sample(logits)            # the only randomness
    values = f(draw.points)                      # called once, on S stacked points
    loss   = estimator.surrogate(draw, values)   # its value estimates E f, its gradient is the estimator's

`Composition` is all estimators that weigh values of f: a coupling (the joint law of the points), weights (what
multiplies the values) and a control variate (what is subtracted first, with or without the gradient of f, and added
back in closed form). `Pathwise` is those whose points carry the gradient themselves. The named algorithms in
`estimators.py` fill these slots and add nothing.

Sizes: S evaluations, C categories; `*variables` = `*batch, *event` is the logits' shape without the categories.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from discretegrad import checks
from discretegrad.autograd import append_dims, attach_gradient, attach_gradient_later
from discretegrad.control_variate import Chain, ControlVariate, Evaluation, wants_points
from discretegrad.coupling import Coupling, Drawn
from discretegrad.draw import Draw, category_logits, category_logits_below_zero
from discretegrad.frozen import Made, frozen
from discretegrad.latent import Latent
from discretegrad.objectives import MEAN, Objective
from discretegrad.ops.dispatch import has_entries
from discretegrad.ops.layout import only_where, wide_dtype
from discretegrad.ops.noise import LARGEST_SEED
from discretegrad.pathwise import OnPath, Path
from discretegrad.weights import AnyWeights


@frozen
class Estimator(Made, ABC):
    """An immutable recipe for the gradient of an expectation over discrete latents; it holds no hidden state."""

    latent: str
    """"categorical" or "bernoulli"."""

    def __getattr__(self, name: str) -> Any:
        """An argument that it was made from, where the name is nothing else: `rloo.num_samples`."""
        arguments = self.__dict__.get("made_from", {})
        if name not in arguments:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")
        return arguments[name]

    def replace(self, **changes: Any) -> Self:
        """A new estimator of the same class, made from other arguments: what an estimator has in place of assignments.

        Arguments that are not named stay those that this one was made from. Modules that learn are shared, but for
        one that the class makes itself from an argument that is changed.

        Args:
            changes: arguments of the class by name.

        Raises:
            TypeError: for what is no argument of the class.

        Example:
            >>> import discretegrad as dg
            >>> estimator = dg.GumbelSoftmax(temperature=1.0, hard=True)
            >>> estimator = estimator.replace(temperature=0.5)                  # in an annealing loop, say
            >>> estimator.temperature, estimator.hard
            (0.5, True)
        """
        unknown = changes.keys() - self.made_from.keys()
        if unknown:
            raise TypeError(
                f"{type(self).__name__} is not made from {', '.join(sorted(unknown))}; its arguments are "
                f"{', '.join(self.made_from)}."
            )
        return type(self)(**{**self.made_from, **changes})

    @property
    @abstractmethod
    def unbiased(self) -> bool:
        """Whether the gradient's mean is that of E f, or of the objective's mean, for every f and all logits.

        For every f that gives each point a value of its own: for one that mixes the points of a call nothing is.
        """

    @property
    @abstractmethod
    def evaluations(self) -> int | None:
        """S, the evaluations of f; None where it depends on the logits' shape."""

    @property
    @abstractmethod
    def needs_grad_f(self) -> bool:
        """Whether f must be differentiable in its points."""

    @property
    def takes_ids(self) -> bool:
        """Whether f may be a function of `draw.indices`: it is asked at points that have ids, and for no gradient."""
        return not self.needs_grad_f

    @property
    def of_bound(self) -> bool:
        """Whether it differentiates a multi-sample bound: `log q` in the values must then keep the logits' graph."""
        return False

    @property
    def learners(self) -> tuple[nn.Module, ...]:
        """The modules in its slots that learn beside the model: see `discretegrad.nn.Learner`."""
        return ()

    def sample(
        self,
        logits: Tensor | Distribution,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        validate: bool | None = None,
        stream: int | None = None,
    ) -> Draw:
        """Phase 1: draw the points. All randomness is here.

        The logits must stay as they are until `surrogate`: changes in place are refused, as far as torch tells (not
        those of `logits.data`, nor under torch.compile and torch.func).

        Args:
            logits: categorical `[*batch, *event, C]` (-inf forbids a category), or Bernoulli `[*batch, *event]`; or a
                distribution that has them, of `torch.distributions` or `discretegrad.distributions`.
                Noise has 53 bits whatever their dtype, so categories as rare as 1e-12 have their frequency.
            generator: source of the noise; the default one of the logits' device if None. torch.compile takes none, and
                neither does what is computed again in a backward pass: there, under `torch.utils.checkpoint`, the
                default one is put back to where it was, and draws the same points.
                One seed gives the same points on all CPUs that have a C compiler; without one, in torch.compile and on
                other devices it gives others.
            mask: boolean, broadcastable to `[*batch, *event]`; a variable where it is False has id 0, points 0
                and gradient 0, whatever its logits; a value all of whose variables are off counts as 0.
            validate: look for NaN and for variables without a category; by default on CPU tensors only.
            stream: an integer, such as the process's rank. Processes with the same seed draw the same points, so that
                averaging their gradients averages away nothing; a stream of its own makes each draw others. They are
                drawn by a new generator, from a seed that is drawn from `generator` (if None, from the CPU's default
                one) and the stream. Not under torch.compile or vmap: call `torch.manual_seed(seed + rank)` there.

        Raises:
            TypeError, ValueError: for logits or a mask that cannot be meant.
        """
        latent = checks.named_latent(self.latent)
        logits = checks.logits_of(logits, latent)
        checks.form_of_logits(logits, latent, mask)
        return self._draw(logits, latent, mask, _source(generator, stream, logits.device), validate)

    def surrogate(self, draw: Draw, values: Tensor, context: Any = None, validate: bool | None = None) -> Tensor:
        """Phase 2: the estimate of E f, `[*batch]`, that carries the estimator's gradient.

        Its gradient w.r.t. the logits is the estimator's; w.r.t. everything else that the values depend on it is
        the gradient of the plain (weighted) average of the values.

        Every value must be that of its own point, whatever other points are in the call of f: for an f that mixes
        them, as batch normalisation in training mode does, no estimator is unbiased.

        Args:
            draw: from `sample`.
            values: f at the points, `[S, *batch]`; or with further dimensions of the logits behind, for costs
                that are local to them. Whatever of the logits' dimensions is left shares the value. The first
                dimension is that of `draw.points`, which holds the extra points of a control variate too.
            context: what a learned baseline looks at; by default the logits.
            validate: look for NaN among the values that count; by default on CPU tensors only.

        Raises:
            TypeError, ValueError: for values that do not belong to the draw, for logits that were changed in place
                since, for a draw of torch.inference_mode.
        """
        if not self._drew(draw):
            raise ValueError(
                f"this draw was made by another estimator, and its points are not those that {type(self).__name__} "
                "needs; call sample and surrogate of the same estimator."
            )
        checks.unchanged(draw.stale)
        checks.not_of_inference(draw.of_inference and torch.is_grad_enabled() and draw.logits.requires_grad)
        checks.values(values, draw.evaluations, draw.variables)
        active = draw.active(values.ndim - 1)
        if active is not None:  # what f makes of padding, perhaps NaN, must reach neither the loss nor a baseline
            values = torch.where(active, values, 0.0)
        return self._surrogate(draw, values, context, validate)

    def __call__(
        self,
        f: Callable[[Tensor], Tensor],
        logits: Tensor | Distribution,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        context: Any = None,
        validate: bool | None = None,
        on: str = "points",
        stream: int | None = None,
    ) -> Tensor:
        """Both phases at once.

        Args:
            f: maps `draw.points` to values, each from its own point; with `on="ids"` it maps `draw.indices`, and no
                one-hots are made.
            logits, generator, mask, validate, stream: as for `sample`.
            context: as for `surrogate`.
            on: "points" or "ids".

        Raises:
            ValueError: for ids where the estimator needs more than them.
        """
        checks.on(on, self.takes_ids, type(self).__name__)
        draw = self.sample(logits, generator, mask, validate, stream)
        return self.surrogate(draw, f(draw.points if on == "points" else draw.indices), context, validate)

    @abstractmethod
    def _draw(
        self,
        logits: Tensor,
        latent: Latent,
        mask: Tensor | None,
        generator: torch.Generator | None,
        validate: bool | None,
    ) -> Draw: ...

    @abstractmethod
    def _drew(self, draw: Draw) -> bool:
        """Whether the draw is one that this estimator can judge."""

    @abstractmethod
    def _surrogate(self, draw: Draw, values: Tensor, context: Any, validate: bool | None) -> Tensor: ...


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
        for name, value in (
            ("latent", latent),
            ("coupling", coupling),
            ("weights", weights),
            ("control_variate", control_variate),
            ("objective", MEAN if objective is None else objective),
        ):
            object.__setattr__(self, name, value)
        checks.named_latent(latent)
        whole = coupling.whole
        weights.refuse(whole)
        self.objective.refuse(whole, weights, control_variate)
        if control_variate is not None:
            if weights.differences and control_variate.constant:
                raise ValueError(
                    f"{type(weights).__name__} weights multiply differences of values, in which what "
                    f"{type(control_variate).__name__} subtracts cancels; use control_variate=None."
                )
            control_variate.refuse(whole)
            if coupling is not whole and (control_variate.needs_grad_f or wants_points(control_variate)):
                raise ValueError(
                    f"{type(control_variate).__name__} asks for more than the values at the coupling's points, which "
                    f"{type(coupling).__name__} evaluates once where they are equal; use distinct=False."
                )

    def replace(self, **changes: Any) -> Self:
        """As of every estimator."""
        made = super().replace(**changes)
        own = self.control_variate
        if isinstance(own, Made) and own.made_alike(made.control_variate):  # what has learned something goes on
            object.__setattr__(made, "control_variate", own)
        return made

    @property
    def unbiased(self) -> bool:
        """As the weights are on this coupling, and the control variate is."""
        control_variate = self.control_variate
        return self.weights.unbiased(self.coupling.whole) and (control_variate is None or control_variate.unbiased)

    @property
    def evaluations(self) -> int | None:
        """As many as the coupling has points, and the control variate extra ones."""
        points, control_variate = self.coupling.evaluations, self.control_variate
        if points is None or control_variate is None:
            return points
        return points + control_variate.extra_evaluations(points)

    @property
    def needs_grad_f(self) -> bool:
        """Only where the control variate does: `surrogate` then differentiates f, and keeps its graph.

        Neither `torch.compile` nor the transforms of `torch.func` go through that step. An f that is compiled by itself
        keeps its graph under `torch._functorch.config.donated_buffer = False`.
        """
        return self.control_variate is not None and self.control_variate.needs_grad_f

    @property
    def takes_ids(self) -> bool:
        """Not where the control variate asks for the gradient of f, or for f at points between the one-hots."""
        control_variate = self.control_variate
        return control_variate is None or not (control_variate.needs_grad_f or control_variate.extra_evaluations(1))

    @property
    def of_bound(self) -> bool:
        """As the objective is."""
        return self.objective.is_bound

    @property
    def learners(self) -> tuple[nn.Module, ...]:
        """Those in the slots that are modules."""
        control_variate = self.control_variate
        slots: tuple[object, ...] = control_variate.parts if isinstance(control_variate, Chain) else (control_variate,)
        return (*(slot for slot in slots if isinstance(slot, nn.Module)), *self.weights.learners)

    @torch.no_grad()
    def _draw(
        self,
        logits: Tensor,
        latent: Latent,
        mask: Tensor | None,
        generator: torch.Generator | None,
        validate: bool | None,
    ) -> Draw:
        self._refuse_size(logits, latent)
        check = functools.partial(checks.probabilities, logits, latent, mask, validate)
        drawn = self.coupling.draw(category_logits(logits, latent, None), mask, generator, check)
        return self.complete(Draw(logits, drawn, latent, mask), generator)

    def _refuse_size(self, logits: Tensor, latent: Latent) -> None:
        variables = logits.shape[: logits.ndim - latent.rank]
        categories = logits.shape[-1] if latent.rank else 2
        self.coupling.refuse_size(variables, categories, logits)
        self.weights.refuse_size(self.coupling.whole, variables, categories, logits)

    def complete(self, draw: Draw, generator: torch.Generator | None = None) -> Draw:
        """Add to a draw of the coupling's points what the control variate asks for besides."""
        if self.control_variate is None:
            return draw
        with torch.no_grad():
            draw = self._own(draw)
            added = self.control_variate.add(draw, generator)
        return draw if added is None else dataclasses.replace(draw, added=added)

    @torch.no_grad()
    def _own(self, draw: Draw) -> Draw:
        """The same draw, whose points the coupling knows."""
        if draw.drawn.coupling is not None:
            return draw
        own = category_logits(draw.logits, draw.latent, None)
        return dataclasses.replace(draw, drawn=self.coupling.at(own, draw.mask, draw.indices))

    def _drew(self, draw: Draw) -> bool:
        coupling = draw.drawn.coupling
        return (
            draw.relaxed is None
            and (coupling is None or coupling is self.coupling or coupling in (self.coupling, self.coupling.whole))
            and self.evaluations in (None, draw.evaluations)
            and draw.latent.name == self.latent
        )

    def _surrogate(self, draw: Draw, values: Tensor, context: Any, validate: bool | None) -> Tensor:
        draw = self._own(draw)
        drawn, values = draw.drawn.whole(values)
        if drawn is not draw.drawn:
            draw = dataclasses.replace(draw, drawn=drawn)
        with torch.no_grad():
            value_weights = drawn.value_weights()
        points = len(drawn.indices)
        own = values if len(values) == points else values[:points]
        if value_weights is not None:
            checks.joint_values(own, value_weights)
            value_weights = append_dims(value_weights, own.ndim)
        average = self.objective.combine(own, value_weights)
        for looked_at in (average,) if own is values else (average, values[points:]):
            checks.not_nan(looked_at.detach(), validate)
        grad_f = None
        if self.needs_grad_f:
            if not (torch.is_grad_enabled() and draw.logits.requires_grad):
                return average
            grad_f = draw.grad_f(values, type(self).__name__)
        with torch.no_grad():
            wide = values.detach().to(torch.promote_types(values.dtype, wide_dtype(draw.logits.dtype)))
            left, added_back = self._left(draw, wide, grad_f, context, value_weights)
        gradient = functools.partial(self._gradient, draw.latent, draw.mask, drawn, left, added_back)
        if self.weights.can_wait(self.coupling.whole) and has_entries(draw.logits) and has_entries(values):
            return attach_gradient_later(average, draw.logits, gradient, drawn.indices, left)
        with torch.no_grad():
            now = gradient()
        return attach_gradient(average, draw.logits, now)

    def _left(
        self, draw: Draw, values: Tensor, grad_f: Tensor | None, context: Any, value_weights: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What a control variate leaves of the values, broadcastable to the ids, and what it adds to the gradient."""
        points, added_back = len(draw.indices), None
        own = self.objective.signals(values[:points])
        evaluation = Evaluation(draw, own, values[points:], grad_f, context)
        evaluation = evaluation.less(self._constant_of(evaluation, value_weights))
        own = evaluation.values
        if self.control_variate is not None:
            own, added_back = self.control_variate.subtract_from(evaluation)
        return append_dims(own, draw.indices.ndim), added_back

    def _constant_of(self, evaluation: Evaluation, value_weights: Tensor | None) -> Tensor | None:
        """What is taken off all values before anything is averaged, where a constant cancels: one of them.

        Then equal values leave exactly nothing, and others the rounding of their differences, not of themselves.
        """
        values = evaluation.values
        if self.weights.differences:
            return values[:1]
        if (
            self.coupling.whole.exhaustive and value_weights is not None
        ):  # that of the most probable: it is no matter of luck
            return values.gather(0, value_weights.expand(values.shape).argmax(0, keepdim=True))
        return None if self.control_variate is None else self.control_variate.constant_of(evaluation)

    def _gradient(
        self,
        latent: Latent,
        mask: Tensor | None,
        drawn: Drawn,
        values: Tensor,
        added_back: Tensor | None,
        scale: Tensor | None = None,
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
        if mask is not None:
            gradient = only_where(mask, gradient)
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
        for name, value in (("latent", latent), ("path", path), ("num_samples", num_samples)):
            object.__setattr__(self, name, value)
        checks.named_latent(latent)
        checks.count(num_samples, "num_samples")

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

    def _draw(
        self,
        logits: Tensor,
        latent: Latent,
        mask: Tensor | None,
        generator: torch.Generator | None,
        validate: bool | None,
    ) -> Draw:
        checks.probabilities(logits, latent, mask, validate)
        checks.temperature_of_variables(
            getattr(self.path, "temperature", 1.0), logits.shape[: logits.ndim - latent.rank]
        )
        own = category_logits_below_zero(logits, latent, mask)
        relaxed, indices = self.path.sample(own, self.num_samples, generator)
        return Draw(logits, OnPath(indices, own.detach(), mask, relaxed.to(logits.dtype), self.path), latent, mask)

    def _drew(self, draw: Draw) -> bool:
        drawn = draw.drawn
        return isinstance(drawn, OnPath) and drawn.path in (None, self.path) and draw.latent.name == self.latent

    def _surrogate(self, draw: Draw, values: Tensor, context: Any, validate: bool | None) -> Tensor:
        wanted = torch.is_grad_enabled() and draw.logits.requires_grad
        checks.gradient_of_f(values.requires_grad or not wanted, type(self).__name__)
        average = values.mean(0)
        checks.not_nan(average.detach(), validate)
        return average


def _source(generator: torch.Generator | None, stream: int | None, device: torch.device) -> torch.Generator | None:
    """The generator of a draw: the user's, or a new one for a stream."""
    if stream is None and (generator is None or torch.compiler.is_compiling()):
        return generator
    checks.stream(stream, torch.compiler.is_compiling())
    checks.not_recomputed(generator)
    if stream is None:
        return generator
    source = {"device": "cpu"} if generator is None else {"generator": generator, "device": generator.device}
    seed = checks.seed(torch.randint(LARGEST_SEED, (), **source))
    mixed = hashlib.blake2b(f"{seed} {stream}".encode(), digest_size=8).digest()
    return torch.Generator("cpu" if device.type == "meta" else device).manual_seed(int.from_bytes(mixed) >> 1)
