"""Augment the latent variables by their noise, take its score, merge what has the same mean."""

from __future__ import annotations

from discretegrad.core import Composition
from discretegrad.coupling import Coupling, Distinct, MirroredUniforms, Swaps
from discretegrad.weights import ChangedDirichletScore, DirichletScore, UniformScore


class ARM(Composition):
    """Augment-REINFORCE-merge: antithetic pairs of Bernoulli variables, weighted by their uniform noise.

        g = mean over pairs of (f(1[1 - u < p]) - f(1[u < p])) (u - 1/2),   p = sigmoid(logit)

    `DisARM` is its mean given the pair, and never has more variance.

    unbiased: yes | evaluations: 2 num_pairs | gradient of f: not used | latents: bernoulli

    Args:
        num_pairs: P, averaged.

    Reference: Yin, Zhou, "ARM: augment-REINFORCE-merge gradient for stochastic binary networks", 2019, arXiv
    1807.11143.
    Departs from the paper: nothing.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, requires_grad=True)
        >>> dg.ARM()(lambda points: (points - 0.499).square().sum(-1), logits).sum().backward()
        >>> logits.grad.shape
        torch.Size([2, 3])
    """

    def __init__(self, num_pairs: int = 1) -> None:
        super().__init__(MirroredUniforms(num_pairs), UniformScore(), latent="bernoulli")


class ARS(Composition):
    """Augment-REINFORCE-swap: the noise of every category is swapped with that of one reference category j.

        z^{c<->j} = argmin_i (log pi with c and j swapped)_i - logits_i,   pi ~ Dirichlet(1, ..., 1)
        g_c = (f(z^{c<->j}) - mean_m f(z^{m<->j})) (1 - C pi_j)

    All variables of an event swap at once, each in its own noise.

    unbiased: yes | evaluations: C | gradient of f: not used | latents: categorical

    Args:
        reference: the category j; None draws one for every batch element.
        event_dims: how many of the logits' last dimensions (before C) are variables that f sees jointly; 0 for a
            single variable.
        distinct: evaluate equal joint points once, as in `ARSM`.

    Raises:
        ValueError: from `sample`, for a reference that the logits do not have.

    Reference: Yin, Yue, Zhou, "ARSM: augment-REINFORCE-swap-merge estimator for gradient backpropagation through
    categorical variables", 2019, arXiv 1905.01413.
    Departs from the paper: forbidden categories have gradient 0 and are left out of the mean.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 5, requires_grad=True)
        >>> draw = dg.ARS().sample(logits)
        >>> draw.evaluations
        5
        >>> dg.ARS().surrogate(draw, draw.points[..., 0].sum(-1)).sum().backward()
    """

    def __init__(self, reference: int | None = None, event_dims: int = 1, distinct: bool = False) -> None:
        super().__init__(_swaps(reference, event_dims, distinct), DirichletScore())


class ARSM(Composition):
    """Augment-REINFORCE-swap-merge: `ARS` averaged over all reference categories, with the same noise.

        g_c = mean_j (f(z^{c<->j}) - mean_m f(z^{m<->j})) (1 - C pi_j)

    Many of the `C (C - 1) / 2 + 1` swaps lead to the same joint point, which is evaluated once: `draw.distinct` is
    the number of points of every batch element. S is the largest of them; f at the points behind is not used. S
    depends on the noise, so a GPU must report it before f can be called. `distinct=False` keeps all points and
    never waits; torch.func.vmap needs that, and a torch.compile without breaks.

    unbiased: yes | evaluations: up to C (C - 1) / 2 + 1 | gradient of f: not used | latents: categorical

    Args:
        event_dims: how many of the logits' last dimensions (before C) are variables that f sees jointly; 0 for a
            single variable.
        distinct: evaluate equal joint points once.

    Reference: Yin, Yue, Zhou, "ARSM: augment-REINFORCE-swap-merge estimator for gradient backpropagation through
    categorical variables", 2019, arXiv 1905.01413.
    Departs from the paper: forbidden categories have gradient 0 and are left out of the mean.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.tensor([[[9.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]], requires_grad=True)
        >>> draw = dg.ARSM().sample(logits, torch.Generator().manual_seed(0))
        >>> draw.evaluations == draw.distinct.max()
        tensor(True)
        >>> dg.ARSM().surrogate(draw, draw.points[..., 0].sum(-1)).sum().backward()
    """

    def __init__(self, event_dims: int = 1, distinct: bool = True) -> None:
        super().__init__(_swaps("all", event_dims, distinct), DirichletScore())


class ARSPlus(Composition):
    """`ARS` with less noise in its weights (ARS+): 0 where no swap changes the variable, else pi_j integrated out.

        g_c = (f(z^{c<->j}) - mean_m f(z^{m<->j})) E[1 - C pi_j | the variable's points, the ratios of its other pi]

    unbiased: yes | evaluations: C | gradient of f: not used | latents: categorical

    With two categories this is `DisARM`.

    Args:
        reference: as in `ARS`.
        event_dims: as in `ARS`.
        distinct: as in `ARSM`.
        integrate: False keeps pi_j in the weights that are not 0.

    Raises:
        ValueError: from `sample`, for a reference that the logits do not have.

    Reference: Dong, Mnih, Tucker, "Coupled gradient estimators for discrete latent variables", 2021, arXiv
    2106.08056.
    Departs from the paper: its code holds all noise but that of j and of one category more, here only the ratios of
    the other noise are held, which integrates over more (`discretegrad/ops/swap/README.md`); forbidden categories as
    in `ARS`.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 5, requires_grad=True)
        >>> dg.ARSPlus()(lambda points: points[..., 0].sum(-1), logits).sum().backward()
    """

    def __init__(
        self, reference: int | None = None, event_dims: int = 1, distinct: bool = False, integrate: bool = True
    ) -> None:
        super().__init__(_swaps(reference, event_dims, distinct), ChangedDirichletScore(integrate))


class ARSMPlus(Composition):
    """`ARSM` with less noise in its weights (ARSM+): 0 where no swap with j changes the variable, else integrated.

        g_c = mean_j (f(z^{c<->j}) - mean_m f(z^{m<->j})) E[1 - C pi_j | its points, the ratios of its other pi]

    unbiased: yes | evaluations: up to C (C - 1) / 2 + 1 | gradient of f: not used | latents: categorical

    Args:
        event_dims: as in `ARSM`.
        distinct: as in `ARSM`.
        integrate: False keeps pi_j in the weights that are not 0, which is the ARSM+ of the authors' code.

    Reference: Dong, Mnih, Tucker, "Coupled gradient estimators for discrete latent variables", 2021, arXiv
    2106.08056.
    Departs from the paper: the noise is integrated out where a variable does change
    (`discretegrad/ops/swap/README.md`); forbidden categories as in `ARS`.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(2, 3, 5, requires_grad=True)
        >>> dg.ARSMPlus()(lambda points: points[..., 0].sum(-1), logits).sum().backward()
    """

    def __init__(self, event_dims: int = 1, distinct: bool = True, integrate: bool = True) -> None:
        super().__init__(_swaps("all", event_dims, distinct), ChangedDirichletScore(integrate))


def _swaps(reference: int | str | None, event_dims: int, distinct: bool) -> Coupling:
    swaps = Swaps("random" if reference is None else reference, event_dims)
    return Distinct(swaps, event_dims) if distinct else swaps
