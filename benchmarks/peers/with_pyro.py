"""pyro-ppl: TraceGraph_ELBO with two particles side by side, and the baseline it offers, a decaying average."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
from pyro.infer import TraceGraph_ELBO

from benchmarks.steps import Step


def build(step: Step, points: int = 2) -> Callable[[], None]:
    """The whole step. The ELBO calls backward itself."""
    network, images = step.model, step.images

    def model() -> None:
        pyro.module("vae", network)
        with pyro.plate("batch", len(images)):
            z = pyro.sample("z", dist.OneHotCategorical(logits=network.prior_logits).to_event(1))
            pixels = network.decoder(2 * z.flatten(-2) - 1)
            pyro.sample("x", dist.Bernoulli(logits=pixels).to_event(1), obs=images)

    def guide() -> None:
        baseline = {"use_decaying_avg_baseline": True, "baseline_beta": 0.9}
        with pyro.plate("batch", len(images)):
            posterior = dist.OneHotCategorical(logits=step.logits()).to_event(1)
            pyro.sample("z", posterior, infer={"baseline": baseline})

    elbo = TraceGraph_ELBO(num_particles=points, vectorize_particles=True, max_plate_nesting=1)

    def run() -> None:
        step.optimizers[0].zero_grad()
        elbo.loss_and_grads(model, guide)
        step.optimizers[0].step()

    return run
