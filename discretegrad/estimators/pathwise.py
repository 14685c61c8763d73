"""Points that carry the gradient: biased, for comparison and for those who want them."""

from __future__ import annotations

from torch import Tensor

from discretegrad.core import Pathwise
from discretegrad.pathwise import (
    Argmax,
    ConditionalGumbel,
    ConditionalTrapezoid,
    Gapped,
    Gumbel,
    MapStates,
    RelaxedTrapezoid,
    Softmax,
    Trapezoid,
)


class StraightThrough(Pathwise):
    """One-hot points forward, the softmax of the logits over a temperature backward.

    unbiased: no | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    Args:
        num_samples: S independent points.
        latent: "categorical" or "bernoulli".
        temperature: of the softmax; positive, a number or a tensor that broadcasts to `[*variables]`.
        tempered_law: which of the two meanings in use the temperature has. False: that of the backward pass only, and
            the points have the law of the logits. True: that of the points too; all is as for logits over the
            temperature, whose law it is then that E f is of, and that `log_prob` or an entropy must be given.

    Raises:
        ValueError: for a temperature that is not positive or does not belong to the logits.

    A temperature with a gradient learns by that of the straight-through points, in either meaning.

    Reference: Bengio, Leonard, Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", 2013, arXiv 1308.3432.
    Departs from the paper: the temperature.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.StraightThrough()(lambda points: points[..., 0].square().sum(-1), logits).sum().backward()
    """

    def __init__(
        self,
        num_samples: int = 1,
        latent: str = "categorical",
        temperature: float | Tensor = 1.0,
        tempered_law: bool = False,
    ) -> None:
        super().__init__(Softmax(temperature, tempered_law), num_samples, latent)


class ArgmaxST(Pathwise):
    """The most probable category forward, the softmax of the logits over a temperature backward; nothing is drawn.

    The value is f at the mode, which E f is not: where a network needs decisions rather than a latent variable.

    unbiased: no | evaluations: 1 | gradient of f: needed | latents: categorical, bernoulli

    Args:
        temperature: of the softmax; positive, a number or a tensor that broadcasts to `[*variables]`.
        latent: "categorical" or "bernoulli".

    Raises:
        ValueError: for a temperature that is not positive or does not belong to the logits.

    Reference: Bengio, Leonard, Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", 2013, arXiv 1308.3432, whose threshold it is without the noise.
    Departs from the paper: the softmax backward, in place of the identity.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.tensor([[0.0, 1.0, -1.0]], requires_grad=True)
        >>> draw = dg.ArgmaxST().sample(logits)
        >>> draw.indices
        tensor([[1]])
        >>> draw.points[..., 1].sum().backward()
    """

    def __init__(self, temperature: float | Tensor = 1.0, latent: str = "categorical") -> None:
        super().__init__(Argmax(temperature), 1, latent)


class GumbelSoftmax(Pathwise):
    """Relaxed points, `softmax((logits + Gumbel noise) / temperature)`, also called Concrete.

    unbiased: no | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    Args:
        temperature: of the softmax; positive, a number or a tensor that broadcasts to `[*variables]`, and that may be
            learned.
        hard: round the points to one-hots forward, keep the soft ones backward (ST-Gumbel).
        num_samples: S independent points.
        latent: "categorical" or "bernoulli".

    Reference: Jang, Gu, Poole, "Categorical reparameterization with Gumbel-softmax", 2017, arXiv 1611.01144;
    Maddison, Mnih, Teh, "The Concrete distribution", 2017, arXiv 1611.00712.
    Departs from the paper: nothing. Soft points are not one-hots, so f is evaluated between them.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.GumbelSoftmax(0.5)(lambda points: points[..., 0].square().sum(-1), logits).sum().backward()
    """

    def __init__(
        self, temperature: float | Tensor = 1.0, hard: bool = False, num_samples: int = 1, latent: str = "categorical"
    ) -> None:
        super().__init__(Gumbel(temperature, hard), num_samples, latent)


class GumbelRao(Pathwise):
    """ST-Gumbel with the noise averaged out given the hard point: the same mean, less variance.

        backward: mean_k d/dlogits softmax((logits + G_k) / temperature),   G_k Gumbel noise given its argmax

    unbiased: no | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    Args:
        num_rao: K noises for every hard point; they cost no evaluations. With K = 1 it is ST-Gumbel.
        temperature: of the softmax; positive, a number or a tensor that broadcasts to `[*variables]`.
        num_samples: S independent hard points.
        latent: "categorical" or "bernoulli".

    Reference: Paulus, Maddison, Krause, "Rao-Blackwellizing the straight-through Gumbel-softmax gradient estimator",
    2021, arXiv 2010.04838.
    Departs from the paper: the noise given the argmax is drawn in logarithms, so that improbable categories do not
    overflow.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.GumbelRao(10, 0.5)(lambda points: points[..., 0].square().sum(-1), logits).sum().backward()
    """

    def __init__(
        self, num_rao: int = 10, temperature: float | Tensor = 1.0, num_samples: int = 1, latent: str = "categorical"
    ) -> None:
        super().__init__(ConditionalGumbel(num_rao, temperature), num_samples, latent)


class GappedST(Pathwise):
    """Straight through a softmax whose logits were moved until they agree with the drawn category, by a gap.

        backward: d/dlogits softmax((logits + m) / temperature)
        m_z = max logits - logits_z,   m_c = -relu(logits_c + gap - max logits) elsewhere; m is a constant

    unbiased: no | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    Args:
        temperature: of the softmax; positive, a number or a tensor that broadcasts to `[*variables]`.
        gap: how far the drawn category's logit is above all others after the moves, at least.
        num_samples: S independent points.
        latent: "categorical" or "bernoulli".

    Reference: Fan, Chi, Rudnicky, Ramadge, "Training discrete deep generative models via gapped straight-through
    estimator", 2022, arXiv 2206.07235.
    Departs from the paper: the gap is a number; the variant whose gap depends on p is left out.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.GappedST(0.5)(lambda points: points[..., 0].square().sum(-1), logits).sum().backward()
    """

    def __init__(
        self, temperature: float | Tensor = 1.0, gap: float = 1.0, num_samples: int = 1, latent: str = "categorical"
    ) -> None:
        super().__init__(Gapped(temperature, gap), num_samples, latent)


class ReinMax(Pathwise):
    """Straight-through with second-order accuracy: exact for quadratic f at temperature 1.

        backward: 2 J((e_z + softmax(logits / temperature)) / 2) - J(p) / 2,   J(q) = diag q - q q^T

    unbiased: no | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    Args:
        temperature: of the softmax beside the one-hot; positive, a number or a tensor that broadcasts to
            `[*variables]`. Above 1 it smooths. E f does not depend on it, so a tensor must have no gradient.
        num_samples: S independent points.
        latent: "categorical" or "bernoulli".

    Reference: Liu, Dong, Liu, Yu, Gao, "Bridging discrete and backpropagation: straight-through and beyond", 2023,
    arXiv 2304.08612.
    Departs from the paper: nothing. Its published code refuses temperatures below 1.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.ReinMax()(lambda points: points[..., 0].square().sum(-1), logits).sum().backward()
    """

    def __init__(self, temperature: float | Tensor = 1.0, num_samples: int = 1, latent: str = "categorical") -> None:
        super().__init__(Trapezoid(temperature), num_samples, latent)


class ReinMaxRao(Pathwise):
    """ReinMax with Gumbel-Rao's matrix at its midpoint: less variance at temperature 1, and too small a mean.

        backward: 2 mean_k J(s_k) / temperature - J(p) / 2,   J(q) = diag q - q q^T
        s_k = softmax((log((e_z + p) / 2) + G_k) / temperature),   G_k Gumbel noise given that the argmax is z

    unbiased: no | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    The mean falls short even where f is linear: for two equally probable categories it is 0.59 of the gradient at
    temperature 1, at most 0.69, at 0.5, and a half in the limit of temperature 0, where the variance has no bound;
    beyond 3.7 it has the wrong sign. `discretegrad/ops/relaxation/README.md` derives it. `RelaxedReinMax` has no such
    factor.

    Args:
        num_rao: K noises for every hard point; they cost no evaluations. The mean is the same for any.
        temperature: of the relaxed points; positive, a number or a tensor that broadcasts to `[*variables]`. E f does
            not depend on it, so a tensor must have no gradient.
        num_samples: S independent hard points.
        latent: "categorical" or "bernoulli".

    Reference: Wang, Bui, "Beyond ReinMax: low-variance gradient estimators for discrete latent variables", 2026, arXiv
    2603.08257.
    Departs from the paper: the matrix is that of the authors' published code, which takes 100 noises; it was not
    compared with the paper's equations.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.ReinMaxRao(10)(lambda points: points[..., 0].square().sum(-1), logits).sum().backward()
    """

    def __init__(
        self, num_rao: int = 10, temperature: float | Tensor = 1.0, num_samples: int = 1, latent: str = "categorical"
    ) -> None:
        super().__init__(ConditionalTrapezoid(num_rao, temperature), num_samples, latent)


class RelaxedReinMax(Pathwise):
    """ReinMax with the drawn one-hot relaxed, and the noise of that averaged out given the draw: less variance.

        backward: (diag s + diag p - s p^T - p s^T) / 2,   s = mean_k softmax((logits + G_k) / temperature)

    G_k is Gumbel noise given its argmax. At `s = e_z`, the limit of small temperatures, the matrix is ReinMax's.

    unbiased: no | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    Args:
        num_rao: K noises for every hard point; they cost no evaluations. The mean is the same for any.
        temperature: of the relaxed points; positive, a number or a tensor that broadcasts to `[*variables]`. E f does
            not depend on it, so a tensor must have no gradient.
        num_samples: S independent hard points.
        latent: "categorical" or "bernoulli".

    Reference: ours, derived in `discretegrad/ops/relaxation/README.md`; it is beside `ReinMaxRao` because its mean
    keeps the size of the gradient: for linear f it is exact wherever the mean of the relaxed points is p.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.RelaxedReinMax(10, 0.5)(lambda points: points[..., 0].square().sum(-1), logits).sum().backward()
    """

    def __init__(
        self, num_rao: int = 10, temperature: float | Tensor = 0.5, num_samples: int = 1, latent: str = "categorical"
    ) -> None:
        super().__init__(RelaxedTrapezoid(num_rao, temperature), num_samples, latent)


class IMLE(Pathwise):
    """Implicit maximum likelihood: finite differences between two most probable states of perturbed logits.

        backward: (e_z - e_z') / step,   z = argmax(logits + G),   z' = argmax(logits + G - step * df/dz)

    unbiased: no | evaluations: num_samples | gradient of f: needed | latents: categorical, bernoulli

    The step multiplies the gradient that reaches the point, so it shrinks with the loss: where a batch is averaged,
    give a step as many times as large. The gradient is zero where the step does not change the state.

    Args:
        step: lambda of the paper; positive.
        num_samples: S independent points.
        latent: "categorical" or "bernoulli".

    Raises:
        RuntimeError: when its gradient is differentiated again.

    Reference: Niepert, Minervini, Franceschi, "Implicit MLE: backpropagating through discrete exponential family
    distributions", 2021, arXiv 2106.01798.
    Departs from the paper: Gumbel noise, so that the points have the law of the logits (the paper's sum of gammas is
    for subsets of k, and is this for k = 1); divided by the step, so that the gradient does not grow with it.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.IMLE()(lambda points: points[..., 0].square().sum(-1), logits).sum().backward()
    """

    def __init__(self, step: float = 1.0, num_samples: int = 1, latent: str = "categorical") -> None:
        super().__init__(MapStates(step), num_samples, latent)
