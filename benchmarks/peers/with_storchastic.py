"""storchastic: its score function with the batch-average baseline, which is leave-one-out."""

from __future__ import annotations

from collections.abc import Callable

import storch
from torch.distributions import Bernoulli, OneHotCategorical

from benchmarks.steps import Step


def build(step: Step, points: int = 2) -> Callable[[], None]:
    """The whole step. `storch.backward` builds its own surrogate."""
    method = storch.method.ScoreFunction("z", n_samples=points, baseline_factory="batch_average")
    model = step.model

    def run() -> None:
        step.optimizers[0].zero_grad()
        images = storch.denote_independent(step.images, 0, "batch")
        logits = model.encoder(images - model.mean).reshape(len(step.images), *model.prior_logits.shape)
        posterior = OneHotCategorical(logits=logits)
        z = method(posterior)
        pixels = model.decoder(2 * z.reshape((*z.shape[:-2], -1)) - 1)
        log_likelihood = Bernoulli(logits=pixels).log_prob(images).sum(-1)
        log_prior = (z * model.prior_logits.log_softmax(-1)).sum((-2, -1))
        log_posterior = (z * logits.detach().log_softmax(-1)).sum((-2, -1))
        storch.add_cost(-(log_likelihood + log_prior - log_posterior), "elbo")
        storch.backward()
        step.optimizers[0].step()

    return run
