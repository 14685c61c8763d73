"""Points that are drawn or summed jointly over the variables of an event."""

from __future__ import annotations

from discretegrad.control_variate import ControlVariate, UnorderedBaseline
from discretegrad.core import Composition
from discretegrad.coupling import Alternatives, TopAndRest, WithoutReplacement
from discretegrad.weights import LocalExpectations, Score


class LocalExpectation(Composition):
    """Local expectation gradients: all categories of one variable after the other, the others held at a sample.

        g_vc = V / n p_vc (f(z_-v, c) - sum_c' p_vc' f(z_-v, c'))   for n chosen variables v of V, 0 for the others

    The surrogate is the mean over the chosen variables of `sum_c p_vc f(z_-v, c)`. Variables that are certain, as
    masked ones are, have no gradient: V counts the others, and those are chosen first.

    unbiased: yes | evaluations: 1 + n (C - 1) | gradient of f: not used | latents: categorical, bernoulli

    Args:
        num_variables: n, chosen at random for every element of the batch; None, or more than there are, for all V.
        event_dims: how many of the logits' last dimensions (before C) are variables that f sees jointly; 0 for a
            single variable.
        latent: "categorical" or "bernoulli".

    Reference: Titsias, Lazaro-Gredilla, "Local expectation gradients for black box variational inference", 2015,
    arXiv 1503.01494.
    Departs from the paper: one sample of the others serves all variables (as in its experiments); a random subset
    of the variables; alternatives without probability count nothing, whatever f is there.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> estimator = dg.LocalExpectation()
        >>> draw = estimator.sample(logits)
        >>> draw.points.shape
        torch.Size([10, 2, 3, 4])
        >>> estimator.surrogate(draw, draw.points[..., 0].sum(-1)).sum().backward()
    """

    def __init__(self, num_variables: int | None = None, event_dims: int = 1, latent: str = "categorical") -> None:
        super().__init__(Alternatives(num_variables, event_dims), LocalExpectations(), latent=latent)


class SumAndSample(Composition):
    """The exact sum over the k most probable joint values, and samples of the rest.

        g = sum_{z in top} p(z) f(z) score(z) + (1 - p(top)) mean_s f(z_s) score(z_s),   z_s ~ p(. | not in top)

    The surrogate is the same sum of `p(z) f(z)`. The rest is drawn without rejection, and its mass is a sum, not one
    less that of the top. As many k as there are joint values make it `Exact`.

    unbiased: yes | evaluations: k + num_samples | gradient of f: not used | latents: categorical, bernoulli

    Args:
        k: how many of the most probable joint values are summed.
        num_samples: of the rest.
        baseline: None, or what is subtracted, as for `Reinforce`.
        event_dims: how many of the logits' last dimensions (before C) are variables that f sees jointly; 0 for a
            single variable.
        latent: "categorical" or "bernoulli".

    Reference: Liu, Regier, Tripuraneni, Jordan, McAuliffe, "Rao-Blackwellized stochastic gradients for discrete
    distributions", 2019, arXiv 1810.04777.
    Departs from the paper: the most probable values of a product of variables are found by merging.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.SumAndSample(k=5)(lambda points: points[..., 0].sum(-1), logits).sum().backward()
    """

    def __init__(
        self,
        k: int = 1,
        num_samples: int = 1,
        baseline: ControlVariate | None = None,
        event_dims: int = 1,
        latent: str = "categorical",
    ) -> None:
        super().__init__(TopAndRest(k, num_samples, event_dims), Score(), baseline, latent)


class UnorderedSet(Composition):
    """k joint values without replacement, each weighted by the probability that it came first, given the set.

        g = sum_s p(s) R(S, s) (f(s) - B_s) (e_s - p),   B_s = p(s) f(s) + sum_{s' != s} p(s') R(S, s, s') f(s')

    R are the leave-one-out ratios, `P(S - s without s) / P(S)`, and those of the second order. B_s estimates E f
    without bias given that s came first. The surrogate is `sum_s p(s) R(S, s) f(s)`. Where no more than k values
    are possible all of that is exact.

    unbiased: yes | evaluations: k | gradient of f: not used | latents: categorical, bernoulli

    Args:
        k: how many joint values are drawn, by stochastic beam search; at most 12, for there are 2 ** k subsets.
        baseline: whether B_s is subtracted; needs k >= 2.
        event_dims: how many of the logits' last dimensions (before C) are variables that f sees jointly; 0 for a
            single variable. The values of f must be joint values' too: the set has no law variable by variable.
        latent: "categorical" or "bernoulli".

    Reference: Kool, van Hoof, Welling, "Estimating gradients for discrete random variables by sampling without
    replacement", 2020, arXiv 2002.06043.
    Departs from the paper: the ratios by a recursion over subsets of positive terms, where the paper integrates
    numerically or sums over permutations; weighted residuals sum to zero, so the softmax term is left out.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 4, requires_grad=True)
        >>> dg.UnorderedSet(k=4)(lambda points: points[..., 0].sum(-1), logits).sum().backward()
    """

    def __init__(self, k: int = 2, baseline: bool = True, event_dims: int = 1, latent: str = "categorical") -> None:
        control_variate = UnorderedBaseline() if baseline else None
        super().__init__(WithoutReplacement(k, event_dims), Score(), control_variate, latent)
