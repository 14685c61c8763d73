"""Control variates at relaxed points."""

from __future__ import annotations

from torch import Tensor, nn

from discretegrad.control_variate import ControlVariate, Relaxed
from discretegrad.core import Composition
from discretegrad.coupling import Independent
from discretegrad.nn import LearnedRelaxation
from discretegrad.weights import Score


class REBAR(Composition):
    """The score function less that of a relaxed f, whose gradient is had along the path of its noise.

        g = (f(z) - c(x~)) (e_z - p) + grad c(x) - grad c(x~),   c = scale * f

    x = softmax((logits + Gumbel noise) / temperature), its argmax z; x~ has the law of x given z, and its own path.

    unbiased: yes | evaluations: 3 num_samples, or 2 num_samples where tied | gradient of f: needed
    | latents: categorical, bernoulli

    Args:
        temperature: of the softmax; positive, a number or a tensor that broadcasts to `[*variables]`. The gradient's
            mean does not depend on it, so a tensor must have no gradient; with `learn` it is where the learned ones
            start.
        scale: of the control variate; 0 for REINFORCE.
        num_samples: S independent points, each with relaxed ones of its own.
        tied: give x and x~ the same noise, as the code of REBAR's authors does: they are one point on two paths, and
            f is evaluated there once.
        learn: let temperature and scale follow the variance's gradient from there on, which differentiates f twice:
            their module is in `learners`.
        latent: "categorical" or "bernoulli".

    Raises:
        ValueError: for a temperature that is not positive; from `surrogate`, for values without a graph back to the
            points.

    Reference: Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein, "REBAR: low-variance, unbiased gradient estimates for
    discrete latent variable models", 2017, arXiv 1703.07370.
    Departs from the paper: the value and the gradient of f's own parameters are those of the hard points alone; one
    temperature and one scale.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.REBAR(0.5)(lambda points: points[..., 0].sum(-1).square(), logits).sum().backward()
        >>> dg.REBAR(num_samples=2).evaluations, dg.REBAR(num_samples=2, tied=True).evaluations
        (6, 4)
    """

    def __init__(
        self,
        temperature: float | Tensor = 0.5,
        scale: float = 1.0,
        num_samples: int = 1,
        tied: bool = False,
        learn: bool = False,
        latent: str = "categorical",
    ) -> None:
        control_variate: ControlVariate = (
            LearnedRelaxation(temperature, scale, tied=tied) if learn else Relaxed(temperature, scale, tied)
        )
        super().__init__(Independent(num_samples), Score(), control_variate, latent)


class RELAX(Composition):
    """REBAR with a network in the control variate, beside the relaxed f or in its place.

        g = (f(z) - c(x~)) (e_z - p) + grad c(x) - grad c(x~),   c = scale * f + network

    Network, temperature and scale follow the variance's gradient: their module is in `learners`.

    unbiased: yes | evaluations: as REBAR, or num_samples where scale is None
    | gradient of f: needed, unless scale is None | latents: categorical, bernoulli

    Args:
        network: maps relaxed points, `[..., features]`, to `[...]` or `[..., 1]`. Its features are the points of the
            variables that share a value, flattened, followed by the context given to `surrogate`, if any.
        temperature: where it starts; positive, a number or a tensor that broadcasts to `[*variables]`.
        scale: where it starts; None for the network alone: f is then evaluated at the hard points only, and may be a
            black box.
        num_samples: S independent points, each with relaxed ones of its own.
        tied: give x and x~ the same noise, as the code of REBAR's authors does: they are one point on two paths, and
            f is evaluated there once.
        latent: "categorical" or "bernoulli".

    Raises:
        TypeError: for what is no network.
        ValueError: for a temperature that is not positive; from `surrogate`, for values without a graph back to the
            points where there must be one, or a network of the wrong shape.

    Reference: Grathwohl, Choi, Wu, Roeder, Duvenaud, "Backpropagation through the void: optimizing control variates for
    black-box gradient estimation", 2018, arXiv 1711.00123.
    Departs from the paper: the network sees relaxed points, not perturbed logits, which are infinite where a category
    is forbidden.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(5, 3, 4, requires_grad=True)
        >>> estimator = dg.RELAX(torch.nn.Linear(3 * 4, 1), scale=None)
        >>> draw = estimator.sample(logits)
        >>> values = draw.indices.sum(-1).float()
        >>> loss = estimator.surrogate(draw, values).sum() + estimator.learners[0].loss(draw, values)
        >>> loss.backward()
    """

    def __init__(
        self,
        network: nn.Module,
        temperature: float | Tensor = 0.5,
        scale: float | None = 1.0,
        num_samples: int = 1,
        tied: bool = False,
        latent: str = "categorical",
    ) -> None:
        if not isinstance(network, nn.Module):
            raise TypeError(f"network must be a torch.nn.Module, not {type(network).__name__}; without one use REBAR.")
        control_variate = LearnedRelaxation(temperature, scale, network, tied)
        super().__init__(Independent(num_samples), Score(), control_variate, latent)
