"""Points whose noise has two categories swapped."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Coupling, Drawn, Law
from discretegrad.coupling.mirrored import MIRRORED, mirrored_cells
from discretegrad.frozen import frozen
from discretegrad.ops import swap as swap_ops
from discretegrad.ops.noise import uniform


class SwapPlan(NamedTuple):
    """Probabilities and their logarithms."""

    probs: Tensor
    log_probs: Tensor


@frozen
class Swaps(Coupling):
    """Winners of a race under flat Dirichlet noise, `argmin_i log pi_i - logits_i`, with two categories' noise swapped.

    A point is a swap, which all variables make at once, each in its own noise. `Draw.noise` is `log pi`,
    `[C, *variables]`, with one row more that holds the reference where there is one.

    Args:
        reference: "all" for the points of all `C (C - 1) / 2 + 1` swaps; or a category j for those of its C swaps
            with every category (with itself: none); or "random" for a j drawn for every batch element.
        event_dims: how many of the logits' last dimensions (before C) are variables that f sees jointly.
        distinct: evaluate points that are equal in the whole event once: `Draw.distinct` tells how many are left.
            The largest number over the batch is S, which the host must wait for; others repeat a point.

    Source: Yin, Yue, Zhou, "ARSM: augment-REINFORCE-swap-merge estimator for gradient backpropagation through
    categorical variables", 2019, arXiv 1905.01413.
    """

    reference: int | str = "all"
    event_dims: int = 1
    distinct: bool = False

    def __post_init__(self) -> None:
        checks.event_dims(self.event_dims)
        checks.reference(self.reference)

    @property
    def distinct_dims(self) -> int | None:
        """The event's, where equal points are evaluated once."""
        return self.event_dims if self.distinct else None

    @property
    def evaluations(self) -> None:
        """C, or up to `C (C - 1) / 2 + 1`, which the logits and the noise tell."""
        return None

    def refuse_size(self, variables: torch.Size, categories: int, like: Tensor) -> None:
        """Of all swaps there are many."""
        swaps = categories * (categories - 1) // 2 + 1 if self.reference == "all" else categories
        checks.fits(
            swaps * variables.numel(),
            5 * 8,  # their ids, and what tells who wins
            like,
            f"the points of {swaps} swaps of {categories} categories for {variables.numel()} variables",
            "use ARS, whose swaps are C, or estimators that draw as many points as they are told, such as RLOO or "
            "DisARMTree",
        )

    def plan(self, logits: Tensor) -> SwapPlan:
        """Probabilities and their logarithms."""
        log_probs = logits.log_softmax(-1)
        return SwapPlan(log_probs.exp(), log_probs)

    def sample(self, plan: SwapPlan, generator: torch.Generator | None) -> Tensor:
        """C uniforms a variable."""
        return self.draw(plan, generator).indices

    def draw(self, plan: SwapPlan, generator: torch.Generator | None) -> Drawn:
        """The same, and the noise."""
        *variables, categories = plan.probs.shape
        checks.has_event_dims(variables, self.event_dims, "Swaps")
        device = plan.probs.device
        noise = log_noise = swap_ops.flat_dirichlet(
            uniform(tuple(plan.probs.shape), plan.probs, generator, dtype=plan.probs.dtype)
        )
        if self.reference == "all":
            first, second = swap_ops.all_swaps(categories, device)
        else:
            first = torch.arange(categories, device=device)
            second = self._references(variables, categories, plan.probs, generator).unsqueeze(-1)
            noise = torch.cat((log_noise, second.to(log_noise.dtype)), -1)
        indices = swap_ops.swapped_winners(log_noise, plan.log_probs, first, second)
        return Drawn(indices.movedim(-1, 0), noise.movedim(-1, 0))

    def _references(
        self, variables: list[int], categories: int, like: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        if isinstance(self.reference, int):
            checks.reference_exists(self.reference, categories)
            return torch.full(variables, self.reference, device=like.device)
        batch = len(variables) - self.event_dims
        noise = uniform((*variables[:batch], *[1] * self.event_dims), like, generator)
        return (noise * categories).long().clamp_max(categories - 1).expand(variables)

    def law(self, plan: SwapPlan) -> Law:
        """For two categories, with two nodes of pi_0 in every cell; the noise of more cannot be enumerated."""
        checks.enumerable_swaps(plan.probs.shape[-1], self.reference)
        probabilities, nodes = mirrored_cells(plan.probs)
        outcomes = torch.tensor(MIRRORED, device=nodes.device)
        noise = torch.stack((nodes.log(), torch.log1p(-nodes)), -1)
        if self.reference != "all":
            reference = int(self.reference)
            noise = torch.cat((noise, torch.full_like(noise[..., :1], reference)), -1)
            if reference == 1:  # whose swap with itself, the second point, is none
                outcomes = outcomes.flip(-1)
        return Law(outcomes, probabilities, noise)
