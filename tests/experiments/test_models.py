"""The VAE's terms."""

import pytest
import torch

import discretegrad as dg
from experiments.systems.vae.model import VAE


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
@pytest.mark.parametrize("of_bound", [False, True])
def test_terms_are_the_same_by_ids_and_by_points(latent, of_bound):
    """Values and the gradients of all parameters."""
    model = VAE(torch.full((6,), 0.3), 3, 4, latent, hidden=(5,)).double()
    torch.nn.init.normal_(model.prior_logits)
    images = (torch.rand(7, 6) < 0.3).double()
    found = []
    for by_ids in (False, True):
        logits = model.posterior_logits(images)
        draw = dg.RLOO(4, latent).sample(logits, torch.Generator().manual_seed(0))
        terms = model.terms(images, draw.points, logits, of_bound, draw.indices if by_ids else None)
        parameters = list(model.parameters())
        found.append((*terms, *torch.autograd.grad(terms.elbo.logsumexp(0).sum(), parameters, allow_unused=True)))
    for by_points, by_ids in zip(*found, strict=True):
        if by_points is None:
            assert by_ids is None and not of_bound
        else:
            torch.testing.assert_close(by_ids, by_points, rtol=1e-12, atol=1e-14)
