"""Control variates that use the gradient of f: Taylor expansions, Stein operators."""

from __future__ import annotations

from torch import nn

from discretegrad.control_variate import ControlVariate, DoubleTaylor, Stein, Taylor
from discretegrad.core import Composition
from discretegrad.coupling import Independent
from discretegrad.nn import LearnedStein, LearnedTaylor
from discretegrad.weights import Score


class MuProp(Composition):
    """The score function on what f's Taylor expansion around the mean of the points leaves over.

        g = mean_s (f(z_s) - f(p) - slope . (z_s - p)) (e_{z_s} - p) + (diag p - p p^T) slope,   slope = grad f(p)

    unbiased: yes | evaluations: num_samples + 1 | gradient of f: needed | latents: categorical, bernoulli

    Args:
        num_samples: S independent points.
        latent: "categorical" or "bernoulli".

    Raises:
        ValueError: from `surrogate`, for values without a graph back to the points.

    Reference: Gu, Levine, Sutskever, Mnih, "MuProp: unbiased backpropagation for stochastic neural networks", 2016,
    arXiv 1511.05176.
    Departs from the paper: no baselines on top; in several layers every layer has its own mean, where the paper sends
    means through all layers.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.MuProp()(lambda points: points[..., 0].sum(-1).square(), logits).sum().backward()
        >>> logits.grad.shape
        torch.Size([2, 3, 4])
    """

    def __init__(self, num_samples: int = 1, latent: str = "categorical") -> None:
        super().__init__(Independent(num_samples), Score(), Taylor(), latent)


class DoubleCV(Composition):
    """Leave-one-out with Taylor expansions of f from the other points, in the value and in its baseline.

        u_s = f(z_s) - coefficient * slope_s . (z_s - p),   slope_s = mean_{t != s} grad f(z_t)
        g = 1 / (S - 1) sum_s (u_s - mean u) e_{z_s} + coefficient * (diag p - p p^T) mean_s slope_s

    unbiased: yes | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    Args:
        num_samples: S >= 2 independent points.
        coefficient: 1 for the expansion itself, 0 for RLOO.
        learn: let the coefficient follow the variance's gradient from there on: its module is in `learners`.
        latent: "categorical" or "bernoulli".

    Raises:
        ValueError: for fewer than two points; from `surrogate`, for values without a graph back to the points.

    Reference: Titsias, Shi, "Double control variates for gradient estimation in discrete latent variable models", 2022,
    arXiv 2111.05300.
    Departs from the paper: categorical latents too; the coefficient has the other sign, and is 1 where the paper
    learns it from 0.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.DoubleCV()(lambda points: points[..., 0].sum(-1).square(), logits).sum().backward()
    """

    def __init__(
        self, num_samples: int = 2, coefficient: float = 1.0, learn: bool = False, latent: str = "categorical"
    ) -> None:
        control_variate: ControlVariate = LearnedTaylor(coefficient) if learn else DoubleTaylor(coefficient)
        super().__init__(Independent(num_samples), Score(), control_variate, latent)


class RODEO(Composition):
    """RLOO with discrete Stein operators, of functions that are made from the other points.

        g = mean_s ((f_s - mean_{t != s} (f_t + inner A h_t(z_t))) (e_{z_s} - p) + outer A (h'_s (e - p))(z_s))
        (A h)(z) = sum_v (E[h | all but z_v] - h(z)),   whose mean is zero

    unbiased: yes | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    Without a network `h_s(y) = h'_s(y) = mean_{t != s} grad f_t . (y - p)`, inner = 1 and outer = 1/2, in closed form.
    With one, h and h' are its outputs, averaged over t, from `f_t`, `grad f_t . (y - z_t)` and `grad f_t . (y - p)`;
    it is evaluated at all neighbours of every point: S (S - 1) V C of them, by a C kernel where it is one hidden layer
    of rectifiers, as in the paper.

    Args:
        num_samples: S >= 2 independent points.
        network: None, or maps `[..., 3]` to `[..., 2]`, learned with both coefficients (from 0) by the variance's
            gradient, by the module in `learners`.
        latent: "categorical" or "bernoulli".

    Raises:
        ValueError: for fewer than two points; from `surrogate`, for values without a graph back to the points.

    Reference: Shi, Zhou, Hwang, Titsias, Mackey, "Gradient estimation with discrete Stein operators", 2022, arXiv
    2202.09497.
    Departs from the paper: categorical latents too; the operator sums over variables where the paper averages; the
    third feature, and the linear surrogate without a network; of the paper's operators only the Gibbs one.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.RODEO()(lambda points: points[..., 0].sum(-1).square(), logits).sum().backward()
        >>> len(dg.RODEO(network=torch.nn.Linear(3, 2)).learners)
        1
    """

    def __init__(self, num_samples: int = 2, network: nn.Module | None = None, latent: str = "categorical") -> None:
        control_variate: ControlVariate = Stein() if network is None else LearnedStein(network)
        super().__init__(Independent(num_samples), Score(), control_variate, latent)
