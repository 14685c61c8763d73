"""The two-phase API: what every estimator is.

draw   = estimator.sample(logits)            # the only randomness
values = f(draw.points)                      # called once, on S stacked points
loss   = estimator.surrogate(draw, values)   # its value estimates E f, its gradient is the estimator's
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import field
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from discretegrad import checks
from discretegrad.draw import Draw, refuse_spoiled
from discretegrad.frozen import Made, frozen
from discretegrad.latent import LATENTS, Latent
from discretegrad.ops.noise import LARGEST_SEED


@frozen
class Estimator(Made, ABC):
    """An immutable recipe for the gradient of an expectation over discrete latents; it holds no hidden state."""

    latent: str
    """"categorical" or "bernoulli"."""
    unbiased: bool = field(init=False, repr=False)
    """Whether the gradient's mean is that of E f, or of the objective's mean, for every f and all logits.

    For every f that gives each point a value of its own: for one that mixes the points of a call nothing is.
    """
    evaluations: int | None = field(init=False, repr=False)
    """S, the evaluations of f; None where it depends on the logits' shape."""
    needs_grad_f: bool = field(init=False, repr=False)
    """Whether f must be differentiable in its points.

    `surrogate` of a composition then differentiates f, and keeps its graph. Neither `torch.compile` nor the transforms
    of `torch.func` go through that step. An f that is compiled by itself keeps its graph under
    `torch._functorch.config.donated_buffer = False`.
    """
    takes_ids: bool = field(init=False, repr=False)
    """Whether f may be a function of `draw.indices`: it is asked at points that have ids, and for no gradient."""
    of_bound: bool = field(init=False, repr=False)
    """Whether it differentiates a multi-sample bound: `log q` in the values must then keep the logits' graph."""
    learners: tuple[nn.Module, ...] = field(init=False, repr=False)
    """The modules in its slots that learn beside the model: see `discretegrad.nn.Learner`."""

    def _set(self, **values: object) -> None:
        """What `__init__` has in the place of assignments."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

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
        latent = LATENTS[self.latent]
        if isinstance(logits, Distribution):
            logits = checks.logits_of(logits, latent)
        checks.form_of_logits(logits, latent, mask)
        if generator is not None or stream is not None:
            generator = _source(generator, stream, logits.device)
        return self._draw(logits, latent, mask, generator, validate)

    def surrogate(self, draw: Draw, values: Tensor, context: object = None, validate: bool | None = None) -> Tensor:
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
        points = draw.evaluations
        if not self._drew(draw) or self.evaluations not in (None, points):
            raise ValueError(
                f"this draw was made by another estimator, and its points are not those that {type(self).__name__} "
                "needs; call sample and surrogate of the same estimator."
            )
        refuse_spoiled(draw)
        checks.values(values, points, draw.drawn.indices.shape[1:])
        active = None if draw.drawn.mask is None else draw.active(values.ndim - 1)
        if active is not None:  # what f makes of padding, perhaps NaN, must reach neither the loss nor a baseline
            values = torch.where(active, values, 0.0)
        return self._surrogate(draw, values, context, validate)

    def __call__(
        self,
        f: Callable[[Tensor], Tensor],
        logits: Tensor | Distribution,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        context: object = None,
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
    def _surrogate(self, draw: Draw, values: Tensor, context: object, validate: bool | None) -> Tensor: ...


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
