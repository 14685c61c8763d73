"""All outcomes of a task's draws at once: each is an element of the batch, with its probability."""

import itertools
import math

import torch

import discretegrad as dg


class Outcomes:
    """In the place of a generator: element b of the batch gets the b-th joint outcome of all that is drawn.

    Of estimators whose variables are drawn independently of each other.
    """

    def __init__(self, batch):
        self.number = torch.arange(batch)
        self.count = 1
        self.probability = torch.ones(batch, dtype=torch.float64)

    def draw(self, estimator, logits):
        kind = dg.latent.LATENTS[estimator.latent]
        own = kind.category_logits(logits.detach())
        law = estimator.coupling.law(own)
        assert law.outcomes.ndim == 2
        variables = list(own.shape[:-1])
        batch, outcomes = len(self.number), len(law.outcomes)
        assert batch == 1 or variables.count(batch) == 1
        where = variables.index(batch)
        others = math.prod(variables) // batch
        digits = self.number.unsqueeze(-1) // (self.count * outcomes ** torch.arange(others)) % outcomes  # [B, others]
        digits = digits.reshape(batch, *variables[:where], *variables[where + 1 :]).movedim(0, where)
        chosen = law.probabilities.gather(-1, digits.unsqueeze(-1)).squeeze(-1)
        self.probability = self.probability * chosen.movedim(where, 0).reshape(batch, -1).prod(-1)
        self.count *= outcomes**others
        drawn = law.drawn(estimator.coupling, own, digits)
        return estimator.complete(dg.Draw(logits, drawn, kind))


def mean_of_all(monkeypatch, estimate, image, parameters):
    """The mean of `estimate(images, generator) -> [B]` over all that it draws by estimators, and its gradient.

    Args:
        monkeypatch: pytest's.
        estimate: draws by estimators alone; what a mask leaves out is drawn as well, and changes nothing.
        image: `[D]`.
        parameters: whose gradients are asked for.
    """
    monkeypatch.setattr(dg.Estimator, "sample", lambda own, logits, outcomes, mask=None: outcomes.draw(own, logits))
    once = Outcomes(1)
    estimate(image.expand(1, -1), once)  # to count them
    every = Outcomes(once.count)
    found = estimate(image.expand(once.count, -1), every)
    assert every.count == once.count
    torch.testing.assert_close(every.probability.sum(), torch.ones((), dtype=torch.float64), rtol=1e-12, atol=0)
    mean = every.probability @ found
    return mean.detach(), torch.autograd.grad(mean, parameters)


def all_points(latent, variables, categories):
    """Every value of a layer, `[N, V, C]` or `[N, V]`."""
    words = torch.tensor(list(itertools.product(range(categories), repeat=variables)))
    return words.double() if latent == "bernoulli" else torch.nn.functional.one_hot(words, categories).double()


def log_prob(latent, points, logits):
    """By torch's own distributions."""
    if latent == "bernoulli":
        return torch.distributions.Bernoulli(logits=logits).log_prob(points).sum(-1)
    return torch.distributions.OneHotCategorical(logits=logits).log_prob(points).sum(-1)


def mean_bound(log_q, log_w, points):
    """The mean over q of `log mean_k exp(log_w)` at so many points, from `[N]` of all values."""
    total = 0.0
    for number in range(points):
        shape = [1] * number + [-1] + [1] * (points - 1 - number)
        total = total + log_q.reshape(shape)
    weights = torch.stack(torch.broadcast_tensors(*torch.meshgrid([log_w] * points, indexing="ij")))
    return (total.exp() * (weights.logsumexp(0) - math.log(points))).sum()


def randomise(model):
    """Parameters at which nothing is symmetric, in float64."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def assert_exact(got, expected):
    """Gradients of all parameters, each that of the truth, none of which is zero."""
    for one, other in zip(got, expected, strict=True):
        assert other.norm() > 1e-6
        assert (one - other).norm() < 1e-10 * other.norm()


def draws(estimator, logits):
    """All ids `[S, *variables]` of a draw, with their probabilities."""
    law = estimator.coupling.law(logits.detach())
    flat = law.probabilities.flatten(0, -2)
    for choice in itertools.product(*(row.nonzero().flatten().tolist() for row in flat)):
        probability = math.prod(row[outcome] for row, outcome in zip(flat, choice, strict=True))
        yield law.outcomes[list(choice)].T.reshape(-1, *logits.shape[:-1]), probability
