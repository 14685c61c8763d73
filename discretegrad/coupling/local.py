"""A base and all alternatives of some variables."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.coupling.base import Check, Coupling, Law, unchecked
from discretegrad.coupling.drawn import Weighted
from discretegrad.coupling.joint import MOST, all_words, as_rows, as_table, one_event
from discretegrad.frozen import frozen
from discretegrad.ops import local as local_ops
from discretegrad.ops.inverse_cdf import inverse_cdf
from discretegrad.ops.layout import switch_off
from discretegrad.ops.noise import uniform


class LocalPoints(Weighted):
    """A base and its alternatives."""

    coupling: Alternatives

    @property
    def joined(self) -> tuple[Tensor, Tensor]:
        """Probabilities `[*batch, V, C]` with the event flattened, and which variables have a choice, `[*batch, V]`."""
        return joined(self.probs, self.coupling.event_dims)

    def weigh(self) -> Tensor:
        """The weights `p_vc / n` make the mean over the chosen variables of their local expectations."""
        probs, _ = self.joined
        if self.indices.shape[0] == 1:  # no variable, or a single category: there is nothing but the base
            return torch.ones_like(probs[..., 0, 0]).unsqueeze(0)
        _, ordered = local_ops.chosen_probabilities(probs, as_rows(self.indices, self.coupling.event_dims))
        ordered = ordered / ordered.shape[-2]
        at_base = ordered[..., 0].sum(-1)
        return torch.cat((at_base.unsqueeze(0), ordered[..., 1:].flatten(-2).movedim(-1, 0)))


@frozen
class Alternatives(Coupling):
    """A base, and for each of some variables the base with that variable at its other C - 1 categories.

    Variables that are certain, as masked ones are, are chosen only where there are not enough others.

    Args:
        num_variables: how many variables are chosen, at random and without replacement; None for all of the event.
        event_dims: how many of the last dimensions of variables make an event.

    Source: Titsias, Lazaro-Gredilla, "Local expectation gradients for black box variational inference", 2015, arXiv
    1503.01494.
    """

    num_variables: int | None = None
    event_dims: int = 1

    def __post_init__(self) -> None:
        checks.event_dims(self.event_dims)
        if self.num_variables is not None:
            checks.count(self.num_variables, "num_variables")

    @property
    def evaluations(self) -> None:
        """The logits tell how many evaluations there are: `1 + num_variables (C - 1)`."""
        return None

    def _refuse_size(self, like: Tensor) -> None:
        """Each variable has all its categories, beside all others."""
        variables, categories = like.shape[:-1], like.shape[-1]
        checks.has_event_dims(variables, self.event_dims, type(self).__name__)
        points = 1 + self.count(variables[len(variables) - self.event_dims :].numel()) * (categories - 1)
        checks.fits(
            points * variables.numel(),
            3 * 8,  # their ids, and what they are made of
            like,
            f"the {points} points of an event for {variables.numel()} variables of {categories} categories",
            "use LocalExpectation(num_variables=1), or estimators that draw as many points as they are told, such as "
            "RLOO or DisARMTree",
        )

    def draw(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        check: Check = unchecked,
    ) -> LocalPoints:
        self._refuse_size(logits)
        check()
        own = self._probs(logits, mask)
        probs, uncertain = joined(own, self.event_dims)
        variables, categories = probs.shape[-2:]
        noise = uniform((2, *probs.shape[:-1]), probs, generator)
        base = inverse_cdf(probs, noise[0])
        count = self.count(variables)
        # The certain come last; the order of the chosen means nothing.
        chosen = (noise[1] + uncertain).topk(count).indices.sort(-1).values
        ids = local_ops.points(base, chosen, categories)
        return LocalPoints(ids.reshape(ids.shape[0], *own.shape[:-1]), logits, mask, self, own)

    def at(self, logits: Tensor, mask: Tensor | None, indices: Tensor) -> LocalPoints:
        """Which variables were chosen is read off the ids."""
        return LocalPoints(indices, logits, mask, self, self._probs(logits, mask))

    def _probs(self, logits: Tensor, mask: Tensor | None = None) -> Tensor:
        checks.has_event_dims(logits.shape[:-1], self.event_dims, type(self).__name__)
        return switch_off(logits, mask).softmax(-1)

    def count(self, variables: int) -> int:
        """How many of so many variables are chosen."""
        return variables if self.num_variables is None else min(self.num_variables, variables)

    def law(self, logits: Tensor) -> Law:
        """The base's law is multiplied by that of the choice, which is uniform."""
        probs, uncertain = joined(self._probs(logits), self.event_dims)
        variables, categories = one_event(probs).shape
        words = all_words(probs)
        every = itertools.combinations(range(variables), self.count(variables))
        choices = torch.tensor(list(every), device=words.device)
        checks.enumerable(len(words) * len(choices), 1, MOST)
        in_order = uncertain[choices].sum(-1)
        allowed = (in_order == in_order.amax()).to(probs.dtype)
        base = probs[torch.arange(variables, device=words.device), words].prod(-1)
        outcomes = local_ops.points(
            words.unsqueeze(1).expand(-1, len(choices), -1), choices.expand(len(words), *choices.shape), categories
        )
        outcomes = outcomes.flatten(1, 2).transpose(0, 1)
        probabilities = torch.outer(base, allowed / allowed.sum()).flatten()
        return Law(outcomes.reshape(*outcomes.shape[:2], *logits.shape[:-1]), probabilities)


def joined(probs: Tensor, event_dims: int) -> tuple[Tensor, Tensor]:
    """See `LocalPoints.joined`."""
    return as_table(probs, event_dims), as_rows((probs > 0).sum(-1) > 1, event_dims)
