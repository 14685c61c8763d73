"""Leave-one-out with torch.distributions, as its documentation's score-function example is generalised."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Bernoulli, Independent, OneHotCategorical

from benchmarks.peers.by_hand import surrogate
from benchmarks.steps import Step


def loss(step: Step, points: int = 2, validate: bool | None = None) -> Tensor:
    """Of one step. `validate`: torch.distributions' own checks, which are on by default."""
    model, images = step.model, step.images
    posterior = Independent(OneHotCategorical(logits=step.logits(), validate_args=validate), 1, validate)
    prior = Independent(OneHotCategorical(logits=model.prior_logits, validate_args=validate), 1, validate)
    one_hots = posterior.sample((points,))
    pixels = model.decoder(2 * one_hots.flatten(2) - 1)
    likelihood = Independent(Bernoulli(logits=pixels, validate_args=validate), 1, validate)
    log_posterior = posterior.log_prob(one_hots)
    values = likelihood.log_prob(images) + prior.log_prob(one_hots) - log_posterior.detach()
    return -surrogate(values, log_posterior).mean()
