"""Independent points and the score function."""

from __future__ import annotations

from torch import nn

from discretegrad.control_variate import ControlVariate, LeaveOneOut
from discretegrad.core import Composition
from discretegrad.coupling import Enumerate, Independent
from discretegrad.nn import Baseline, NVILBaseline
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


class VarGrad(Composition):
    """The gradient of half the sample variance of f, as a function of log q.

        g = grad of 1 / (2 (S - 1)) sum_s (f_s - mean f)^2   where f_s moves as log q(z_s) does
          = 1 / (S - 1) sum_s (f_s - mean f) e_{z_s}

    For f = log q - log p this is the log-variance loss, whose gradient at q is that of the KL divergence. The
    second line says that it is `RLOO`, point by point, for any f.

    unbiased: yes | evaluations: num_samples | gradient of f: not used | latents: categorical, bernoulli

    Args:
        num_samples: S >= 2 independent points.
        latent: "categorical" or "bernoulli".

    Reference: Richter, Boustati, Nuesken, Ruiz, Akyildiz, "VarGrad: a low-variance gradient estimator for
    variational inference", 2020, arXiv 2010.10436.
    Departs from the paper: f need not be a log-ratio; its own gradient w.r.t. the logits, whose mean is zero in an
    ELBO, is that of the plain average, so pass `log_prob` with detached logits.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> estimator = dg.VarGrad(num_samples=4)
        >>> draw = estimator.sample(logits)
        >>> log_ratio = dg.objectives.log_prob(draw.points, logits.detach()) - draw.points[..., 0].sum(-1)
        >>> estimator.surrogate(draw, log_ratio).sum().backward()
    """

    def __init__(self, num_samples: int = 2, latent: str = "categorical") -> None:
        super().__init__(Independent(num_samples), Score(), LeaveOneOut(), latent)


class NVIL(Composition):
    """The score function with a learned and a running baseline, and a scaled signal.

        g = mean_s (f(z_s) - network(context) - mean) / max(1, std) (e_{z_s} - p)

    The network, the running mean and the deviation are the state of a module, `estimator.control_variate`: add its
    `loss(draw, values, context)` to what is minimised, and call its `update` after the surrogate was made.

    unbiased: with normalise=False; else up to the common scale | evaluations: num_samples | gradient of f: not used
    | latents: categorical, bernoulli

    Args:
        network: maps the context to `[*batch]`, as for `dg.nn.LearnedBaseline`; or a baseline ready-made, such as
            `dg.nn.NVILBaseline(network, normalise, decay)`.
        num_samples: S independent points.
        normalise: of a network: whether to divide by the deviation.
        latent: "categorical" or "bernoulli".

    Reference: Mnih, Gregor, "Neural variational inference and learning in belief networks", 2014, arXiv 1402.0030.
    Departs from the paper: what `dg.nn.NVILBaseline` says.

    Example:
        >>> import torch, discretegrad as dg
        >>> estimator = dg.NVIL(torch.nn.Linear(3 * 4, 1))
        >>> logits = torch.zeros(5, 3, 4, requires_grad=True)
        >>> draw = estimator.sample(logits)
        >>> values = draw.points[..., 0].sum(-1)
        >>> (baseline,) = estimator.learners
        >>> (estimator.surrogate(draw, values).mean() + baseline.loss(draw, values)).backward()
        >>> baseline.update(draw, values)
    """

    def __init__(
        self, network: nn.Module, num_samples: int = 1, normalise: bool = True, latent: str = "categorical"
    ) -> None:
        baseline = network if isinstance(network, Baseline) else NVILBaseline(network, normalise)
        super().__init__(Independent(num_samples), Score(), baseline, latent)


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
