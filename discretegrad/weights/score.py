"""The score function."""

from __future__ import annotations

from torch import Tensor

from discretegrad.coupling import Coupling, Probs
from discretegrad.frozen import frozen
from discretegrad.ops import score as score_ops
from discretegrad.weights.base import Signals, Weights, weigh


@frozen
class Score(Weights):
    """`sum_s w_s f_s (e_{z_s} - p)`: the score function, right for every coupling, for each point has law p."""

    differences = False

    def can_wait(self, coupling: Coupling) -> bool:
        """Yes."""
        return True

    def refuse(self, coupling: Coupling) -> None:
        """No coupling is refused."""

    def unbiased(self, coupling: Coupling) -> bool:
        """Always."""
        return True

    def gradient(self, signals: Signals) -> Tensor:
        """A scatter of S numbers a variable, less the softmax times their sum where that is not zero."""
        plan, indices, values, categories, value_weights, centred, *_ = signals
        # A point without probability must not contribute, whatever f returned there.
        weighted = values / indices.shape[0] if value_weights is None else weigh(value_weights, values)
        if centred:
            return score_ops.scatter(indices, weighted, categories)
        if isinstance(plan, Probs):
            return score_ops.of_logits(plan.like, indices, weighted, plan.mask)
        return score_ops.score(plan.probs, indices, weighted)
