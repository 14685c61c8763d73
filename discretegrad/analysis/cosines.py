"""Cosines of replicates with the true gradient, of which a long run has only an estimate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from discretegrad.analysis.estimate import Estimate, joint_error
from discretegrad.analysis.moments import Truth


class Cosines:
    """Of gradients `[R, D]` that come in any number of parts, from when there is a truth on.

    The mean cosine with t is `u . t / |t|`, with u the mean of the gradients over their lengths. It is u that is kept,
    so that the truth may be known better later, as when long runs are merged. The spread of single cosines, from which
    the error is, is that with the truths that were at hand: approximate as far as these differ from the last one.

    Args:
        entries: D.
    """

    def __init__(self, entries: int) -> None:
        self.units = torch.zeros(entries, dtype=torch.float64, device="cpu")
        """Gradients over their lengths, summed; a gradient of zero counts as cosine 0."""
        self.sums = [0.0, 0.0, 0.0]
        """The number of replicates, their cosines, and the squares of these."""
        self._towards: tuple[Tensor, Tensor] | None = None
        """The direction of the last call, and the same of length 1 as replicates come."""

    def update(self, gradients: Tensor, direction: Tensor | None) -> None:
        """Take in replicates `[R, D]`.

        Args:
            gradients: independent of each other and of all before.
            direction: `[D]`, the true gradient, of what is known of it; None lets them pass uncounted.
        """
        if direction is None:
            return
        gradients = gradients.to(torch.promote_types(gradients.dtype, torch.float32))
        lengths = gradients.norm(dim=1)
        inverse = torch.where(lengths > 0, lengths.reciprocal(), 0.0)
        self.units += inverse @ gradients  # of a few: summed over all in double
        if self._towards is None or self._towards[0] is not direction:
            length = float(direction.norm())
            self._towards = direction, (direction / (length if length > 0 else 1.0)).to(gradients)
        cosines = (gradients @ self._towards[1] * inverse).double()
        for place, added in enumerate((len(cosines), float(cosines.sum()), float(cosines.square().sum()))):
            self.sums[place] += added

    def merge(self, other: Cosines) -> None:
        """Take in those of another run, independent of this one, of the same layers."""
        self.units += other.units
        self.sums = [one + another for one, another in zip(self.sums, other.sums, strict=True)]

    def mean(self, truth: Truth) -> Estimate | None:
        """The mean cosine, with the noise of a long run in its error, and without that in its length.

        None where there are no two replicates, or where the truth's length cannot be told from 0.
        """
        count, total, squares = self.sums
        if count < 2:
            return None
        unit, (norm2, error, _) = self.units / count, truth.norm2
        if not norm2 > 2 * error:
            return None
        length2 = float(truth.gradient.square().sum())
        if truth.moments is None:
            found = Estimate(float(unit @ truth.gradient) / math.sqrt(length2), 0.0)
        else:
            found = truth.moments.along(unit)
        if math.isnan(found.value):
            return None
        # Noise makes a long run longer, and single cosines with it smaller.
        spread = max(0.0, squares / count - (total / count) ** 2) / (count - 1) * length2 / norm2
        return Estimate(found.value, *joint_error(found, Estimate(0.0, math.sqrt(spread), count - 1)))

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a file."""
        return {"units": self.units, "sums": self.sums}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Cosines:
        """What `state` was of."""
        cosines = cls(len(state["units"]))
        cosines.units, cosines.sums = state["units"].clone(), list(state["sums"])
        return cosines
