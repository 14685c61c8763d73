"""Control variates that are polynomials of the points, with learned coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from discretegrad import checks
from discretegrad.control_variate import Evaluation, Residual, Taylor
from discretegrad.control_variate.taylor import beyond_first_order, over_event
from discretegrad.draw import Added, Draw
from discretegrad.nn.baseline import active_values, features, masked_mean
from discretegrad.nn.learner import Learner
from discretegrad.ops import polynomial
from discretegrad.ops import taylor as taylor_ops
from discretegrad.ops.score import one_hot


class LinearControlVariate(Learner):
    """A linear function of the points whose coefficients are learned by regression of the values.

        f(z) - c(x) . (z - p),   added back: (diag p - p p^T) c(x)

    It needs no gradient of f and no further evaluation, and is right for every coupling, all unbiased weights and any
    number of points: `RLOO(control_variate=...)`, `DisARMTree(control_variate=...)`, `Flow(control_variate=...)`.
    The best coefficients are the main effects of f. Step on `loss` after the surrogate was made.

    Args:
        network: maps the context, `[*batch, ...]`, to one number for each of the logits of the event, flattened or
            not. Without a context in the call it sees the log-probabilities, as `LearnedBaseline` does.
        shape: instead of a network, the event's logits' shape, `[V, C]` (Bernoulli `[V]`): a table, for latents that
            are global or contexts that say little.

    Raises:
        ValueError: without network or shape, or with both; for a network that returns another number of coefficients.

    Source: this project; Wu et al., "Variance reduction for policy gradient with action-dependent factorized
    baselines", 2018, arXiv 1803.07246.

    Example:
        >>> import torch, discretegrad as dg
        >>> linear = dg.nn.LinearControlVariate(shape=(3, 4))
        >>> estimator = dg.Flow(control_variate=linear)
        >>> draw = estimator.sample(torch.zeros(5, 3, 4, requires_grad=True))
        >>> values = draw.points[..., 0].sum(-1)
        >>> loss = estimator.surrogate(draw, values).mean() + linear.loss(draw, values)
        >>> loss.backward()
    """

    constant = False

    def __init__(self, network: nn.Module | None = None, shape: Sequence[int] | None = None) -> None:
        super().__init__()
        if (network is None) == (shape is None):
            raise ValueError("LinearControlVariate takes a network of the context, or the shape of a table; give one.")
        self.network = network
        self.table = None if shape is None else nn.Parameter(torch.zeros(*shape))

    def coefficients(self, draw: Draw, batch_dims: int, context: Any) -> Tensor:
        """`c`, broadcastable to `[*variables, C]`."""
        event = draw.logits.shape[batch_dims:]
        if self.table is not None:
            if self.table.shape != event:
                raise ValueError(
                    f"the table of coefficients has shape {tuple(self.table.shape)}, but the event's logits have "
                    f"{tuple(event)}; give LinearControlVariate(shape={tuple(event)})."
                )
            return draw.latent.lift(self.table)
        assert self.network is not None
        context = features(draw, batch_dims, self.network) if context is None else context
        output = self.network(context)
        batch = draw.logits.shape[:batch_dims]
        if output.shape[:batch_dims] != batch or output.numel() != draw.logits.numel():
            raise ValueError(
                f"the network must return a coefficient for each of the logits, {tuple(draw.logits.shape)} or "
                f"flattened behind {tuple(batch)}; it returned {tuple(output.shape)}."
            )
        return draw.latent.lift(output.reshape(draw.logits.shape))

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """The linear function is subtracted, and `(diag p - p p^T) c` added back."""
        draw, values, probs = evaluation.draw, evaluation.values, evaluation.draw.probs
        slopes = self.coefficients(draw, values.ndim - 1, evaluation.context).to(values.dtype).expand(probs.shape)
        return Residual(values - _linear(slopes, draw, probs, values.ndim), taylor_ops.gradient_of_mean(slopes, probs))

    def loss(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """The loss is the mean variance of what is left over the points, or over the batch where there is one."""
        values, probs = active_values(draw, values)[: draw.indices.shape[0]], draw.probs
        slopes = self.coefficients(draw, values.ndim - 1, context).expand(probs.shape)
        points = values.shape[0]
        if points > 1:  # a constant cancels below, and its rounding must not be left
            values = values - values[:1]
        left = values - _linear(slopes, draw, probs, values.ndim)
        if points == 1:
            return masked_mean(draw, (left - masked_mean(draw, left)).square())
        return masked_mean(draw, (left - left.mean(0)).square()) * (points / (points - 1))


class QuadraticControlVariate(Learner):
    """f's expansion around the mean of the points: its own value and slope there, and a learned curvature.

        f(z) - f(p) - grad f(p) . u - 1/2 sum_r s_r(x) (w_r . u)^2 - b(x),   u = z - p

    with the exact gradient added back (`ops/polynomial/README.md`). One extra evaluation of f, at p. Curvatures s and
    baseline b come from a network of the context, directions w are parameters. They are fitted to the values and to
    the differences of gradients, `grad f(z) - grad f(p) = H u`, each of which says as much as V C values. It is right
    for every coupling and all unbiased weights: `Reinforce(num_samples, baseline=...)`. Step on `loss` after the
    surrogate was made.

    Args:
        shape: of the event's logits, `[V, C]`, or `[V]` for Bernoulli latents.
        network: maps the context, `[*batch, ...]`, to `[*batch, rank + 1]`: curvatures, then the baseline. Without a
            context in the call it sees the log-probabilities, as `LearnedBaseline` does. None for the same curvatures
            everywhere.
        rank: R, the number of directions.

    Raises:
        ValueError: for a shape that is not the logits', or a network that returns another number of outputs.

    Source: this project. With rank 0 it would be MuProp (Gu et al. 2016, arXiv 1511.05176) with a learned baseline.

    Example:
        >>> import torch, discretegrad as dg
        >>> quadratic = dg.nn.QuadraticControlVariate(shape=(3, 4), rank=2)
        >>> estimator = dg.Reinforce(baseline=quadratic)
        >>> draw = estimator.sample(torch.zeros(5, 3, 4, requires_grad=True))
        >>> values = draw.points[..., 0].sum(-1).square()
        >>> loss = estimator.surrogate(draw, values).mean() + quadratic.loss(draw, values)
        >>> loss.backward()
    """

    constant = False
    needs_grad_f = True

    def __init__(self, shape: Sequence[int], network: nn.Module | None = None, rank: int = 64) -> None:
        super().__init__()
        checks.count(rank, "rank")
        self.rank = rank
        self.network = network
        self.directions = nn.Parameter(0.03 * torch.randn(rank, *shape))
        # Of both signs, for nobody knows yet whether f is concave or convex.
        self.curvatures = nn.Parameter(torch.where(torch.arange(rank) % 2 == 0, -0.7, 0.7))
        self.gain = nn.Parameter(torch.ones(()))

    def extra_evaluations(self, points: int) -> int:
        return 1

    def add(self, draw: Draw, generator: torch.Generator | None) -> Added:
        return Taylor().add(draw, generator)

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        """The expansion is subtracted, and the gradient of its mean added back."""
        draw, values, probs = evaluation.draw, evaluation.values, evaluation.draw.probs
        left, slopes = beyond_first_order(evaluation)
        directions, curvatures, baseline = self._model(draw, values.ndim - 1, evaluation.context, values.dtype)
        bent = polynomial.half_curvature(directions, curvatures, _deviations(draw, probs, values.ndim))
        event = probs.shape[values.ndim - 1 :]
        by_variable = directions.reshape(self.rank, -1, event[-1])
        flat = probs.reshape(*probs.shape[: values.ndim - 1], -1, event[-1])
        curved = polynomial.mean_coefficients(by_variable, curvatures, flat).reshape(probs.shape)
        added_back = taylor_ops.gradient_of_mean(slopes + self.gain * curved, probs)
        return Residual(left - self.gain * bent - baseline, added_back)

    def loss(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """The loss is the mean square of what is left of the values and, weighted by p, of gradients' differences."""
        gradients = draw.grad_f(values, type(self).__name__)
        values, probs = active_values(draw, values), draw.probs
        evaluation = Evaluation(draw, values[:-1], values[-1:], gradients)
        left, _ = beyond_first_order(evaluation)
        directions, curvatures, baseline = self._model(draw, values.ndim - 1, context, probs.dtype)
        deviations = _deviations(draw, probs, values.ndim)
        product = polynomial.curvature_product(directions, curvatures, deviations)
        bent = (product * deviations).sum(-1) / 2
        left = left - self.gain * bent - baseline
        mismatch = torch.where(probs > 0, gradients[:-1] - gradients[-1] - product.reshape(-1, *probs.shape), 0.0)
        mismatch = mismatch - (probs * mismatch).sum(-1, keepdim=True)
        mismatched = over_event((probs * mismatch.square()).sum(-1), values.ndim)
        return masked_mean(draw, left.square() + mismatched)

    def _model(self, draw: Draw, batch_dims: int, context: Any, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Directions `[R, D]` over one-hot entries, curvatures `[*batch, R]`, baseline `[*batch]` or 0."""
        event, batch = draw.logits.shape[batch_dims:], draw.logits.shape[:batch_dims]
        if self.directions.shape[1:] != event:
            raise ValueError(
                f"the control variate is for logits of shape {tuple(self.directions.shape[1:])}, but this event's have "
                f"{tuple(event)}; give QuadraticControlVariate(shape={tuple(event)})."
            )
        directions = draw.latent.lift(self.directions).flatten(1).to(dtype)
        if self.network is None:
            return directions, self.curvatures.to(dtype).expand(*batch, -1), directions.new_zeros(())
        context = features(draw, batch_dims, self.network) if context is None else context
        output = self.network(context)
        if output.shape != (*batch, self.rank + 1):
            raise ValueError(
                f"the network must return [*batch, rank + 1] = {(*batch, self.rank + 1)}: the curvatures, then the "
                f"baseline; it returned {tuple(output.shape)}."
            )
        output = output.to(dtype)
        return directions, self.curvatures.to(dtype) + output[..., :-1], output[..., -1]


def _deviations(draw: Draw, probs: Tensor, dims: int) -> Tensor:
    """`z - p`, `[S, *batch, D]` over the one-hot entries of the event."""
    return (one_hot(draw.indices, probs.shape[-1], probs.dtype) - probs).flatten(dims)


def _linear(slopes: Tensor, draw: Draw, probs: Tensor, dims: int) -> Tensor:
    """`slopes . (z - p)`, `[S, *batch]`."""
    return over_event(taylor_ops.about_mean(slopes, draw.indices, probs), dims)
