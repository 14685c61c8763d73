"""The layer between an encoder and a decoder: logits in, what the network behind wants out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from discretegrad import checks, objectives
from discretegrad.core import Estimator, Pathwise
from discretegrad.draw import Draw, category_logits, given
from discretegrad.nn.learners import Learners
from discretegrad.ops.dispatch import in_transform


class DiscreteLatent(Learners):
    """A discrete latent variable as a layer, for any estimator of the library.

    In training mode it draws, in evaluation mode it takes the most probable category of every variable. What it returns
    has the points for the network behind, and turns the costs that come out there into a loss, the same way whether the
    estimator differentiates f or only looks at its values: exchange the estimator's name, and nothing else changes.

        z = latent(encoder(x))                             # logits [B, V, C]
        costs = cost(decoder(z.points), z.repeat(x))       # points [S * B, V, C], costs [S * B]
        loss = z.surrogate(costs).mean()                   # [B]; z.kl().mean() and the like may be added

    Args:
        estimator: a name in `discretegrad.ESTIMATORS`, or an estimator.
        dim: the dimension of the logits that holds the categories, as 1 for images `[B, C, H, W]`; points have the same
            layout. Bernoulli logits have no such dimension.
        batch_dims: how many leading dimensions of the logits are batch; the variables behind share a cost. With 0, for
            a latent that all examples share, nothing can be folded: points are `[S, *event, C]`.
        fold: where the S points go. "samples_first": into the first dimension, entry `s * B + b` as `torch.cat` of S
            batches has it; "batch_first": entry `b * S + s` as of `repeat_interleave`; None: `[S, *batch, ...]`.
        arguments: of the estimator, where it is given by name: `num_samples=4`, `latent="bernoulli"`, ...

    The estimator's learners (baselines, learned control variates, ...) are submodules, see `Learners`: `surrogate` adds
    what they minimise, and updates them. `latent.estimator = ...` exchanges the estimator at any time.

    Points of an estimator that needs the values carry no gradient by themselves, so a network that is trained without
    `surrogate` leaves its encoder as it is. That is an error: in the first backward pass through the points, or, once a
    surrogate has been taken, at the next draw after points were dropped without one. So is a backward pass through the
    mode. Not under torch.compile and torch.func, where no backward pass can raise, and nothing tells that points were
    dropped: there a forgotten surrogate is silent, so take one training step without them first.

    Example:
        >>> import torch, discretegrad as dg
        >>> encoder, decoder = torch.nn.Conv2d(3, 8, 4, 4), torch.nn.ConvTranspose2d(8, 3, 4, 4)
        >>> latent = dg.nn.DiscreteLatent("rloo", dim=1, num_samples=4)         # or "reinmax", "disarm_tree", ...
        >>> images = torch.rand(5, 3, 8, 8)
        >>> z = latent(encoder(images))
        >>> z.points.shape
        torch.Size([20, 8, 2, 2])
        >>> costs = (decoder(z.points) - z.repeat(images)).square().sum((1, 2, 3))
        >>> loss = z.surrogate(costs).mean() + z.kl().mean()
        >>> loss.backward()
        >>> latent.eval()(encoder(images)).points.shape
        torch.Size([5, 8, 2, 2])
    """

    def __init__(
        self,
        estimator: str | Estimator,
        dim: int = -1,
        batch_dims: int = 1,
        fold: str | None = "samples_first",
        **arguments: Any,
    ) -> None:
        from discretegrad.estimators.names import named  # estimators import their learners from this package

        super().__init__(named(estimator, **arguments))
        checks.event_dims(batch_dims, "batch_dims")
        if fold not in ("samples_first", "batch_first", None):
            raise ValueError(f"fold is 'samples_first', 'batch_first' or None, not {fold!r}.")
        self.dim = dim
        self.batch_dims = batch_dims
        self.fold = fold if batch_dims else None
        self._record = _Record()

    def forward(
        self, logits: Tensor | Distribution, mask: Tensor | None = None, sample: bool | None = None, **draw: Any
    ) -> LatentSample:
        """Draw points, or take the mode.

        Args:
            logits: `[*batch, *event]` and the categories in `dim`; or a distribution that has them.
            mask: boolean, broadcastable to the logits without the categories: False switches a variable off.
            sample: whether to draw; None for the layer's mode, `self.training`.
            draw: `generator`, `stream` (under DDP the rank, for points that are not those of the other processes) and
                whatever else `Estimator.sample` takes.

        Raises:
            TypeError, ValueError: for logits or a mask that cannot be meant.
            RuntimeError: where earlier points were used, and then dropped without a surrogate.
        """
        estimator = self.estimator
        latent = checks.named_latent(estimator.latent)
        logits = checks.categories_last(checks.logits_of(logits, latent), latent, self.dim)
        checks.form_of_logits(logits, latent, mask)
        checks.has_batch_dims(logits.shape[: logits.ndim - latent.rank], self.batch_dims)
        # No part of a compiled graph, or of a transform of torch.func, can raise in its backward pass.
        quiet = torch.compiler.is_compiling() or in_transform() or not torch.is_grad_enabled()
        trains = logits.requires_grad and not quiet
        if not (self.training if sample is None else sample):
            checks.probabilities(logits, latent, mask, None)
            ids = category_logits(logits.detach(), latent, mask).argmax(-1)
            mode = given(logits, ids.unsqueeze(0), latent, mask)
            return LatentSample(self, mode, None, _Owed(None, "the mode") if trains else None)
        owed = None
        if trains and not isinstance(estimator, Pathwise):
            self._record.refuse_forgotten()
            owed = _Owed(self._record, type(estimator).__name__)
        return LatentSample(self, estimator.sample(logits, mask=mask, **draw), estimator, owed)


@dataclass(frozen=True, eq=False, repr=False)
class LatentSample:
    """What `DiscreteLatent` returns: S points of every latent, and what is done with them."""

    layer: DiscreteLatent
    draw: Draw
    """The draw, categories last, not folded."""
    estimator: Estimator | None
    """What drew it; None for the mode."""
    _owed: _Owed | None = None
    _points: Tensor | None = field(default=None, init=False)

    @property
    def points(self) -> Tensor:
        """What the network behind is called with, in the layout and dtype of the logits: `[S * B, *event, C]`."""
        points = self._points
        if points is None:
            draw = self.draw
            points = draw.points
            if draw.latent.rank and self.layer.dim not in (-1, draw.logits.ndim - 1):
                points = points.movedim(-1, self.layer.dim % draw.logits.ndim + 1)
            points = self.fold(points)
            if self._owed is not None:
                points = self._owed.guard(points)
            object.__setattr__(self, "_points", points)
        return points

    @property
    def indices(self) -> Tensor:
        """int64 category ids `[S * B, *event]`, for a network on ids; see `Estimator.takes_ids`."""
        if self._owed is not None:
            self._owed.used = True
        return self.fold(self.draw.indices)

    @property
    def logits(self) -> Tensor:
        """The logits, categories last."""
        return self.draw.logits

    def fold(self, tensor: Tensor) -> Tensor:
        """From `[S, B, ...]` to `[S * B, ...]`, in the layer's order."""
        if self.layer.fold is None:
            return tensor
        return (tensor if self.layer.fold == "samples_first" else tensor.transpose(0, 1)).flatten(0, 1)

    def unfold(self, tensor: Tensor) -> Tensor:
        """From `[S * B, ...]`, in the layer's order, to `[S, B, ...]`."""
        if self.layer.fold is None:
            return tensor
        points, batch = self.draw.evaluations, self.draw.variables[0]
        checks.folded(tensor, points, batch)
        if self.layer.fold == "samples_first":
            return tensor.unflatten(0, (points, batch))
        return tensor.unflatten(0, (batch, points)).transpose(0, 1)

    def repeat(self, tensor: Tensor) -> Tensor:
        """From `[B, ...]` to `[S * B, ...]`: what belongs to an example, for each of its points."""
        if self.layer.fold is not None:
            checks.of_examples(tensor, self.draw.variables[0])
        return self.fold(tensor.expand(self.draw.evaluations, *tensor.shape))

    def surrogate(self, values: Tensor, context: Any = None) -> Tensor:
        """The loss of every example, `[*batch]`: its value estimates E f, its gradient is the estimator's.

        In training mode the learners of the estimator take part: what they minimise is added, with the value zero, for
        the mean over the batch, and their state is updated. Take it once a draw.

        Args:
            values: f at the points, folded as they are: `[S * B]`, or with further dimensions of the logits behind, for
                costs that are local to them.
            context: what a learned baseline looks at, `[*batch, ...]`; by default the logits.

        Raises:
            TypeError, ValueError: for values that do not belong to the points.
        """
        draw, estimator = self.draw, self.estimator
        values = self.unfold(values)
        if self._owed is not None:
            self._owed.settle()
        if estimator is None:
            checks.values(values, 1, draw.variables)
            active = draw.active(values.ndim - 1)
            return values[0] if active is None else torch.where(active, values[0], 0.0)
        loss = estimator.surrogate(draw, values, context)
        if self.layer.training and torch.is_grad_enabled() and estimator.learners:
            learning = self.layer.loss(draw, values, context)
            loss = loss + (learning - learning.detach()).to(loss.dtype)
            self.layer.update(draw, values, context)
        return loss

    def log_prob(self) -> Tensor:
        """log q of the points, `[S * B]`, as the values of a multi-sample bound have to contain it."""
        draw = self.draw
        points = draw.points if draw.drawn.relaxed is not None else draw.indices
        return self.fold(objectives.log_prob(points, draw.logits, self._event_dims, draw.latent.name, draw.mask))

    def entropy(self) -> Tensor:
        """The entropy of q in nats, `[*batch]`, in closed form."""
        draw = self.draw
        return objectives.entropy(draw.logits, self._event_dims, draw.latent.name, draw.mask)

    def kl(self, prior: Tensor | Distribution | None = None, free_nats: float = 0.0) -> Tensor:
        """The divergence of q from a prior in nats, `[*batch]`, in closed form.

        Args:
            prior: its logits in the layout of the layer's; dimensions in front may be missing. None for uniform.
            free_nats: what costs nothing: where the divergence is less it has this value, and no gradient.
        """
        draw = self.draw
        if prior is not None:
            prior = checks.logits_of(prior, draw.latent)
            prior = prior.reshape((1,) * (draw.logits.ndim - prior.ndim) + prior.shape)
            prior = checks.categories_last(prior, draw.latent, self.layer.dim)
        kl = objectives.kl(draw.logits, prior, self._event_dims, draw.latent.name, draw.mask)
        return kl.clamp_min(free_nats) if free_nats else kl

    def perplexity(self, shared: bool = False) -> Tensor:
        """The effective number of codes, `[*event]`: exp of the entropy of the probabilities' mean over the batch.

        It has a gradient, so that it may be a part of the loss, to be made larger.

        Args:
            shared: whether all variables use the same codes; then they are averaged too, and it is a single number.
        """
        draw = self.draw
        mean = self._mean(category_logits(draw.logits, draw.latent, draw.mask).softmax(-1), shared)
        return (-mean * torch.where(mean > 0, mean, 1.0).log()).sum(-1).exp()

    def codes_used(self, shared: bool = False) -> Tensor:
        """How many categories are the most probable one of some element of the batch, `[*event]`, int64.

        Args:
            shared: as for `perplexity`.
        """
        draw = self.draw
        logits = category_logits(draw.logits.detach(), draw.latent, draw.mask)
        modes = torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
        return (self._mean(modes, shared) > 0).sum(-1)

    @property
    def _event_dims(self) -> int:
        return len(self.draw.variables) - self.layer.batch_dims

    def _mean(self, entries: Tensor, shared: bool) -> Tensor:
        """The mean of `[*variables, C]` over the batch, or over all variables, that take part."""
        dims = tuple(range(entries.ndim - 1 if shared else self.layer.batch_dims))
        part = entries.new_ones(()) if self.draw.mask is None else self.draw.mask.to(entries.dtype)
        part = part.expand(self.draw.variables).unsqueeze(-1)
        return (entries * part).sum(dims) / part.sum(dims).clamp_min(1.0) if dims else entries * part

    def __repr__(self) -> str:
        what = f"{self.draw.evaluations} points" if self.estimator is not None else "the mode"
        return f"LatentSample({what} of {tuple(self.draw.variables)} {self.draw.latent.name} variables)"


class _Record:
    """What a layer remembers of its draws that needed a surrogate."""

    def __init__(self) -> None:
        self.proven = False
        """Whether a surrogate was ever taken. Until then points are guarded, which costs the gradient of f in them."""
        self.forgotten: str | None = None
        """What was used, and then dropped without a surrogate."""

    def refuse_forgotten(self) -> None:
        """Raise where there is such, once."""
        name, self.forgotten = self.forgotten, None
        if name is not None:
            raise RuntimeError(
                f"points of {name} were used in an earlier forward pass, and dropped without a surrogate, so the "
                "encoder was not trained: make the loss of z.surrogate(values). Passes that train nothing belong under "
                "torch.no_grad()."
            )


class _Owed:
    """A draw's debt of a surrogate. The mode, whose points no surrogate gives a gradient, can never pay."""

    def __init__(self, record: _Record | None, name: str) -> None:
        self.record, self.name = record, name
        self.used = self.settled = False

    def guard(self, points: Tensor) -> Tensor:
        """The points, with a backward pass that is an error while the debt stands."""
        self.used = True
        if self.record is not None and self.record.proven:
            return points
        return _Guard.apply(points, points.new_empty(0).requires_grad_(), self)

    def settle(self) -> None:
        """The surrogate is taken."""
        if self.record is not None:
            self.settled = self.record.proven = True

    def refuse(self) -> None:
        """Raise where the debt stands, once."""
        if self.settled:
            return
        self.settled = True
        if self.record is None:
            raise RuntimeError(
                "this backward pass goes through the mode, which has no gradient, so the encoder is not trained: draw "
                "points, in training mode or by sample=True; where it is not to be trained, detach the logits."
            )
        raise RuntimeError(
            f"this backward pass goes through points of {self.name} without a surrogate, so the encoder is not "
            "trained: make the loss of z.surrogate(values); where it is not to be trained, detach the logits."
        )

    def __del__(self) -> None:
        if self.record is not None and self.used and not self.settled:
            self.record.forgotten = self.name


class _Guard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, switch: Tensor, owed: _Owed) -> Tensor:
        ctx.owed = owed
        return points.view_as(points)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        ctx.owed.refuse()
        return grad_output, None, None
