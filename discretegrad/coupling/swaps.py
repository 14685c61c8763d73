"""Points whose noise has two categories swapped."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Check, Coupling, Law, unchecked
from discretegrad.coupling.drawn import Drawn
from discretegrad.coupling.mirrored import MIRRORED, at_nodes, mirrored_cells
from discretegrad.frozen import frozen
from discretegrad.ops import swap as swap_ops
from discretegrad.ops.layout import switch_off
from discretegrad.ops.noise import uniform


class SwappedPoints(Drawn):
    """Winners of a race and of its swaps, and the noise that they ran under.

    Args:
        indices, logits, mask, coupling: as for `Drawn`.
        log_probs: log-probabilities `[*variables, C]`.
        log_noise: `log pi`, `[*variables, C]`.
        reference: int64 `[*variables]`, the category that all others are swapped with; None for the swaps of any two.
    """

    def __init__(
        self,
        indices: Tensor,
        logits: Tensor,
        mask: Tensor | None,
        coupling: Coupling,
        log_probs: Tensor,
        log_noise: Tensor,
        reference: Tensor | None,
    ) -> None:
        super().__init__(indices, logits, mask, coupling, log_probs.exp())
        self.log_probs, self.log_noise, self.reference = log_probs, log_noise, reference


@dataclass(frozen=True, eq=False)
class SwapsLaw(Law):
    """The law for two categories, with the noise at the nodes of a quadrature."""

    log_noise: Tensor
    """`[*variables, M, C]`."""
    reference: int | None

    def drawn(self, coupling: Coupling, logits: Tensor, chosen: Tensor) -> SwappedPoints:
        log_noise = at_nodes(self.log_noise, chosen).movedim(0, -1)
        reference = None if self.reference is None else torch.full_like(chosen, self.reference)
        log_probs = logits.log_softmax(-1)
        return SwappedPoints(self._indices(chosen), logits, None, coupling, log_probs, log_noise, reference)


@frozen
class Swaps(Coupling):
    """Winners of a race under flat Dirichlet noise, `argmin_i log pi_i - logits_i`, with two categories' noise swapped.

    A point is a swap, which all variables make at once, each in its own noise.

    Args:
        reference: "all" for the points of all `C (C - 1) / 2 + 1` swaps; or a category j for those of its C swaps
            with every category (with itself: none); or "random" for a j drawn for every batch element.
        event_dims: how many of the logits' last dimensions (before C) are variables that f sees jointly.

    Source: Yin, Yue, Zhou, "ARSM: augment-REINFORCE-swap-merge estimator for gradient backpropagation through
    categorical variables", 2019, arXiv 1905.01413.
    """

    reference: int | str = "all"
    event_dims: int = 1

    def __post_init__(self) -> None:
        checks.event_dims(self.event_dims)
        checks.reference(self.reference)

    @property
    def evaluations(self) -> None:
        """Logits and noise tell how many evaluations there are: C, or up to `C (C - 1) / 2 + 1`."""
        return None

    def _refuse_size(self, like: Tensor) -> None:
        """Of all swaps there are many."""
        variables, categories = like.shape[:-1], like.shape[-1]
        swaps = categories * (categories - 1) // 2 + 1 if self.reference == "all" else categories
        checks.fits(
            swaps * variables.numel(),
            5 * 8,  # their ids, and what tells who wins
            like,
            f"the points of {swaps} swaps of {categories} categories for {variables.numel()} variables",
            "use ARS, whose swaps are C, or estimators that draw as many points as they are told, such as RLOO or "
            "DisARMTree",
        )

    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> SwappedPoints:
        self._refuse_size(logits)
        check()
        log_probs = switch_off(logits, mask).log_softmax(-1)
        *variables, categories = logits.shape
        checks.has_event_dims(variables, self.event_dims, "Swaps")
        noise = uniform(tuple(logits.shape), logits, generator, dtype=logits.dtype)
        log_noise, reference = swap_ops.flat_dirichlet(noise), None
        if self.reference == "all":
            first, second = swap_ops.all_swaps(categories, logits.device)
        else:
            reference = self._references(variables, categories, log_probs, generator)
            first, second = torch.arange(categories, device=logits.device), reference.unsqueeze(-1)
        indices = swap_ops.swapped_winners(log_noise, log_probs, first, second).movedim(-1, 0)
        return SwappedPoints(indices, logits, mask, self, log_probs, log_noise, reference)

    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> Drawn:
        """Points that are given are refused: they have many noises."""
        raise checks.noise_unknown(self)

    def _references(
        self, variables: list[int], categories: int, like: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        if isinstance(self.reference, int):
            checks.reference_exists(self.reference, categories)
            return torch.full(variables, self.reference, device=like.device)
        batch = len(variables) - self.event_dims
        noise = uniform((*variables[:batch], *[1] * self.event_dims), like, generator)
        return (noise * categories).long().clamp_max(categories - 1).expand(variables)

    def law(self, logits: Tensor) -> SwapsLaw:
        """Two categories have two nodes of pi_0 in every cell; the noise of more cannot be enumerated."""
        checks.enumerable_swaps(logits.shape[-1], self.reference)
        probabilities, nodes = mirrored_cells(logits.log_softmax(-1).exp())
        outcomes = torch.tensor(MIRRORED, device=nodes.device)
        reference = None if self.reference == "all" else int(self.reference)
        if reference == 1:  # whose swap with itself, the second point, is none
            outcomes = outcomes.flip(-1)
        return SwapsLaw(outcomes, probabilities, torch.stack((nodes.log(), torch.log1p(-nodes)), -1), reference)
