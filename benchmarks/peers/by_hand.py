"""Leave-one-out as it is written with care for one model: log_softmax, multinomial, gather; no objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from benchmarks.steps import Step  # which takes experiments/ with it


@torch.no_grad()
def sample(log_probs: Tensor, points: int) -> Tensor:
    """Ids `[S, B, V]`. One call of multinomial costs less than S argmaxes of Gumbel noise of the logits' size."""
    rows = torch.multinomial(log_probs.exp().flatten(0, -2), points, replacement=True)
    return rows.T.reshape(points, *log_probs.shape[:-1])


def log_prob(log_probs: Tensor, ids: Tensor) -> Tensor:
    """`[S, B]`: the points are gathered side by side, so that nothing of size `[S, B, V, C]` is expanded."""
    return log_probs.gather(-1, ids.movedim(0, -1)).sum(1).T


def surrogate(values: Tensor, log_probs: Tensor) -> Tensor:
    """`[B]`, from values and log-probabilities `[S, B]`."""
    points = values.shape[0]
    signal = (values - values.mean(0)).detach() * (points / (points - 1))
    return (values + signal * log_probs).mean(0)


def loss(step: Step, points: int = 2) -> Tensor:
    """Of one step."""
    model, images = step.model, step.images
    log_probs = step.logits().log_softmax(-1)
    ids = sample(log_probs, points)
    one_hots = F.one_hot(ids, log_probs.shape[-1]).to(log_probs.dtype).flatten(2)
    pixels = model.decoder(2 * one_hots - 1)
    log_likelihood = (images * pixels - F.softplus(pixels)).sum(-1)
    log_prior = one_hots @ model.prior_logits.log_softmax(-1).flatten()
    log_posterior = log_prob(log_probs, ids)
    return -surrogate(log_likelihood + log_prior - log_posterior.detach(), log_posterior).mean()
