"""Weights that are scores of the noise itself: of a uniform, of Dirichlet noise."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling import Coupling, MirroredBits, MirroredUniforms, SwappedPoints, Swaps
from discretegrad.frozen import frozen
from discretegrad.ops import swap as swap_ops
from discretegrad.weights.base import Weights


@frozen
class UniformScore(Weights[MirroredBits]):
    """`(f(z) - f(z')) (u - 1/2)` for bits from a uniform u and its mirror image, averaged over the pairs.

    Source: Yin, Zhou 2019, arXiv 1807.11143 (ARM).
    """

    differences = True

    def refuse(self, coupling: Coupling) -> None:
        """Only mirrored uniforms fit."""
        if not isinstance(coupling, MirroredUniforms):
            raise ValueError(
                f"UniformScore weights need the uniforms of antithetic bits, which {type(coupling).__name__} does not "
                "keep; use coupling=MirroredUniforms(), or weights=RaoBlackwell() for a tree."
            )

    def unbiased(self, coupling: Coupling) -> bool:
        return True

    def gradient(self, drawn: MirroredBits, values: Tensor, centred: bool = False) -> Tensor:
        of_one = ((values[0::2] - values[1::2]) * (drawn.uniforms - 0.5).to(values.dtype)).mean(0)
        return torch.stack((-of_one, of_one), -1)


@frozen
class DirichletScore(Weights[SwappedPoints]):
    """`(f(z^{c<->j}) - mean_m f(z^{m<->j})) (1 - C pi_j)`, for one reference j or averaged over all.

    A forbidden category has gradient 0, and its points are left out of the mean.

    Source: Yin, Yue, Zhou 2019, arXiv 1905.01413 (ARS, ARSM). Departs from the paper: forbidden categories.
    """

    differences = True

    def refuse(self, coupling: Coupling) -> None:
        """Only swaps fit."""
        if not isinstance(coupling, Swaps):
            raise ValueError(
                f"{type(self).__name__} weights need the Dirichlet noise of swapped points, which "
                f"{type(coupling).__name__} does not have; use coupling=Swaps(), or weights=Score()."
            )

    def unbiased(self, coupling: Coupling) -> bool:
        return True

    def gradient(self, drawn: SwappedPoints, values: Tensor, centred: bool = False) -> Tensor:
        """References are summed over, then the gradient is centred over the categories that are allowed."""
        if drawn.reference is not None:
            gradient = self.of_one(drawn, drawn.reference).unsqueeze(-1) * values.movedim(0, -1)
        else:
            weights = self.of_all(drawn)
            swapped = values[swap_ops.swap_number(drawn.logits.shape[-1], values.device)].movedim((0, 1), (-2, -1))
            gradient = (weights.unsqueeze(-2) * swapped).mean(-1)
        allowed = drawn.log_probs > -torch.inf
        average = torch.where(allowed, gradient, 0.0).sum(-1, keepdim=True) / allowed.sum(-1, keepdim=True)
        return torch.where(allowed, gradient - average, 0.0)

    def of_one(self, drawn: SwappedPoints, reference: Tensor) -> Tensor:
        """`[*variables]`, what multiplies the values of one reference's swaps."""
        return 1 - drawn.logits.shape[-1] * drawn.log_noise.gather(-1, reference.unsqueeze(-1)).squeeze(-1).exp()

    def of_all(self, drawn: SwappedPoints) -> Tensor:
        """`[*variables, C]`, the same for every reference."""
        return 1 - drawn.logits.shape[-1] * drawn.log_noise.exp()


@frozen
class ChangedDirichletScore(DirichletScore):
    """`DirichletScore`, 0 for a variable that no swap with the reference changes, with the noise integrated out or not.

    Where no swap with a reference changes a variable, its values differ by the other variables alone, whose swapped
    points all have one law: the mean of their differences is zero whatever its own noise.
    `discretegrad/ops/swap/README.md` derives both.

    Args:
        integrate: put `E[pi_j | the variable's points, its other noise]` in the place of pi_j.

    Source: Dong, Mnih, Tucker 2021, arXiv 2106.08056 (ARS+, ARSM+). Departs from the paper: what is dropped is as in
    the authors' code; there ARSM+ integrates nothing, and ARS+ holds all noise but that of j and one category more,
    whereas here only the ratios of the other noise are held.
    """

    integrate: bool = True

    def refuse_size(self, coupling: Coupling, like: Tensor) -> None:
        variables, categories = like.shape[:-1], like.shape[-1]
        if self.integrate and isinstance(coupling, Swaps) and coupling.reference == "all":
            checks.fits(
                categories * (categories * (categories - 1) // 2) * variables.numel(),
                3 * 4,
                like,
                f"the integrals over the noise of {categories} categories under all swaps, for {variables.numel()} "
                "variables,",
                "use integrate=False, or ARSPlus",
            )

    def of_one(self, drawn: SwappedPoints, reference: Tensor) -> Tensor:
        if self.integrate:
            by_variable = drawn.indices.movedim(0, -1)
            weights = swap_ops.integrate_one(drawn.log_noise, drawn.log_probs, reference, by_variable)
        else:
            weights = super().of_one(drawn, reference)
        return torch.where(_changed(drawn.indices), weights, 0.0)

    def of_all(self, drawn: SwappedPoints) -> Tensor:
        if self.integrate:
            weights = swap_ops.integrate_all(drawn.log_noise, drawn.log_probs, drawn.indices.movedim(0, -1))
        else:
            weights = super().of_all(drawn)
        by_reference = drawn.indices[swap_ops.swap_number(drawn.logits.shape[-1], drawn.indices.device)]
        return torch.where(_changed(by_reference).movedim(0, -1), weights, 0.0)


def _changed(indices: Tensor) -> Tensor:
    return (indices != indices[:1]).any(0)
