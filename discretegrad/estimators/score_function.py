"""Independent points and the score function."""

from __future__ import annotations

from discretegrad.control_variate import ControlVariate, LeaveOneOut
from discretegrad.core import Composition
from discretegrad.coupling import Enumerate, Independent
from discretegrad.weights import Score


class Reinforce(Composition):
    """The score function, with or without a baseline.

        g = mean_s (f(z_s) - b) (e_{z_s} - p)

    unbiased: yes | evaluations: num_samples | gradient of f: not used | latents: categorical, bernoulli

    Args:
        num_samples: S independent points.
        baseline: None, or what is subtracted: `dg.nn.RunningMean()`, `dg.nn.LearnedBaseline(network)`,
            `dg.BatchLeaveOneOut(dim)`.
        latent: "categorical" or "bernoulli".

    Reference: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement
    learning", 1992; Mnih, Gregor, "Neural variational inference and learning in belief networks", 2014, arXiv
    1402.0030.
    Departs from the paper: nothing.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.Reinforce()(lambda points: points[..., 0].sum(-1), logits).sum().backward()
        >>> logits.grad.shape
        torch.Size([2, 3, 4])
    """

    def __init__(
        self, num_samples: int = 1, baseline: ControlVariate | None = None, latent: str = "categorical"
    ) -> None:
        super().__init__(Independent(num_samples), Score(), baseline, latent)


class RLOO(Composition):
    """REINFORCE with leave-one-out baselines.

        g = 1 / (S - 1) sum_s (f(z_s) - mean f) e_{z_s}

    The softmax term of the score has cancelled, because the centred values sum to zero.

    unbiased: yes | evaluations: num_samples | gradient of f: not used | latents: categorical, bernoulli

    Args:
        num_samples: S >= 2 independent points.
        latent: "categorical" or "bernoulli".
        control_variate: subtracted before leave-one-out: a function of the points with a known gradient, such as
            `dg.nn.LinearControlVariate`.

    Reference: Salimans, Knowles, "On using control variates with stochastic approximation for variational Bayes
    and its connection to stochastic linear regression", 2014, arXiv 1401.1022; Kool, van Hoof, Welling, "Buy 4
    REINFORCE samples, get a baseline for free!", 2019.
    Departs from the paper: nothing.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> estimator = dg.RLOO(num_samples=4)
        >>> draw = estimator.sample(logits)
        >>> values = draw.points[..., 0].sum(-1)
        >>> loss = estimator.surrogate(draw, values)
        >>> loss.mean().backward()
    """

    def __init__(
        self, num_samples: int = 2, latent: str = "categorical", control_variate: ControlVariate | None = None
    ) -> None:
        parts = (LeaveOneOut(),) if control_variate is None else (control_variate, LeaveOneOut())
        super().__init__(Independent(num_samples), Score(), parts, latent)


class Exact(Composition):
    """The exact expectation and its gradient, by evaluating f at every joint value. For small problems.

        g = sum_z f(z) grad p(z)

    unbiased: yes, and without variance | evaluations: C ** V | gradient of f: not used
    | latents: categorical, bernoulli

    Variables that a mask switches off are enumerated as well, with weight zero for all but category 0.

    Args:
        event_dims: how many of the logits' last dimensions (before C) are variables that f sees jointly; 0 for a
            single variable.
        latent: "categorical" or "bernoulli".

    Raises:
        ValueError: from `sample`, for more than `Enumerate.limit` joint values.

    Example:
        >>> import torch, discretegrad as dg
        >>> dg.Exact()(lambda points: points[..., 0].sum(-1), torch.zeros(3, 4))
        tensor(0.7500)
    """

    def __init__(self, event_dims: int = 1, latent: str = "categorical") -> None:
        super().__init__(Enumerate(event_dims), Score(), latent=latent)
