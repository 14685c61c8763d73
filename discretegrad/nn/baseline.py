"""Baselines: control variates with a state or parameters, for `Reinforce`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from discretegrad import checks
from discretegrad.control_variate import Evaluation, Residual
from discretegrad.draw import Draw
from discretegrad.nn.learner import Learner, Statistics
from discretegrad.ops.layout import wide_dtype


class Baseline(Learner):
    """A number subtracted from the values that knows the past or the context, but not the points.

    Give it to `Reinforce(baseline=...)`.
    """

    def predict(self, values: Tensor, draw: Draw, context: Any) -> Tensor:
        """The number, broadcastable to `[*batch]`. Of the values only the shape may be used."""
        raise NotImplementedError

    def subtract_from(self, evaluation: Evaluation) -> Residual:
        values = evaluation.values
        return Residual(values - self.predict(values, evaluation.draw, evaluation.context).detach())


class RunningMean(Statistics, Baseline):
    """An exponential moving average of all values so far, kept in float32 whatever dtype the module is moved to.

    Args:
        decay: of the average, in [0, 1).

    Source: Mnih, Gregor, "Neural variational inference and learning in belief networks", 2014, arXiv 1402.0030.
    Departs from the paper: bias-corrected, so that the first steps do not see the initial zero.

    Example:
        >>> import torch, discretegrad as dg
        >>> baseline = dg.nn.RunningMean()
        >>> estimator = dg.Reinforce(baseline=baseline)
        >>> draw = estimator.sample(torch.zeros(3, 4, requires_grad=True))
        >>> values = draw.points[..., 0].sum(-1)
        >>> estimator.surrogate(draw, values).sum().backward()
        >>> baseline.update(draw, values)
    """

    mean: Tensor
    weight: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        checks.decay(decay)
        self.decay = decay
        # Not float64: torch.compile on the CPU loses in-place changes to scalars of that.
        self.register_buffer("mean", torch.zeros((), dtype=torch.float32))
        self.register_buffer("weight", torch.zeros((), dtype=torch.float32))

    def predict(self, values: Tensor, draw: Draw, context: Any) -> Tensor:
        """The prediction is the corrected mean; 0 before the first update."""
        return (self.mean / torch.where(self.weight > 0, self.weight, 1.0)).to(values.dtype)

    @torch.no_grad()
    def update(self, draw: Draw, values: Tensor, context: Any = None) -> None:
        self.move("mean", masked_mean(draw, values), 1 - self.decay)
        self.move("weight", torch.ones_like(self.weight), 1 - self.decay)


class LearnedBaseline(Baseline):
    """A network's prediction of the value from the context, fitted by regression.

    Args:
        network: maps the context, `[*batch, ...]`, to `[*batch]` or `[*batch, 1]`. Without a context in the call
            it sees the log-probabilities of the categories (of 1 for Bernoulli latents), detached, no less than
            -20, flattened to `[*batch, features]`.

    Source: Mnih, Gregor 2014, arXiv 1402.0030. Departs from the paper: no variance normalisation, for which
    see `NVILBaseline`.

    Example:
        >>> import torch, discretegrad as dg
        >>> baseline = dg.nn.LearnedBaseline(torch.nn.Linear(3 * 4, 1))
        >>> estimator = dg.Reinforce(baseline=baseline)
        >>> logits = torch.zeros(5, 3, 4, requires_grad=True)
        >>> draw = estimator.sample(logits)
        >>> values = draw.points[..., 0].sum(-1)
        >>> loss = estimator.surrogate(draw, values).mean() + baseline.loss(draw, values)
        >>> loss.backward()
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def predict(self, values: Tensor, draw: Draw, context: Any) -> Tensor:
        batch = values.shape[1:]
        context = features(draw, len(batch), self.network) if context is None else context
        prediction = self.network(context)
        if prediction.shape == (*batch, 1):
            prediction = prediction.squeeze(-1)
        if prediction.shape != batch:
            raise ValueError(
                f"the baseline's network must return [*batch] = {tuple(batch)}, with or without a last dimension of "
                f"1; it returned {tuple(prediction.shape)}."
            )
        return prediction

    def loss(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """The loss is the mean squared error of the prediction."""
        values = active_values(draw, values)
        return masked_mean(draw, (values - self.predict(values, draw, context)).square())


def features(draw: Draw, batch_dims: int, network: nn.Module) -> Tensor:
    """What a network sees where no context is given: log-probabilities, no less than -20, `[*batch, features]`."""
    logits = draw.logits.detach().to(torch.promote_types(draw.logits.dtype, torch.float32))
    log_probs = draw.latent.category_logits(logits).log_softmax(-1).clamp_min(-20.0)
    if draw.mask is not None:
        log_probs = torch.where(draw.mask.unsqueeze(-1), log_probs, 0.0)
    log_probs = draw.latent.points(log_probs).unsqueeze(-1).flatten(batch_dims)
    return log_probs.to(next(network.parameters(), log_probs).dtype)


def active_values(draw: Draw, values: Tensor) -> Tensor:
    """Values without their graph, in at least float32; 0 where a mask switches all variables of one off."""
    active, values = draw.active(values.ndim - 1), values.detach().to(wide_dtype(values.dtype))
    return values if active is None else torch.where(active, values, 0.0)


def masked_mean(draw: Draw, values: Tensor) -> Tensor:
    """The mean over the values that a mask does not switch off, in at least float32."""
    active, values = draw.active(values.ndim - 1), values.to(wide_dtype(values.dtype))
    if active is None:
        return values.mean()
    return torch.where(active, values, 0.0).sum() / (active.sum() * values.shape[0]).clamp_min(1)
