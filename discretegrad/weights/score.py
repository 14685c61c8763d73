"""The score function."""

from __future__ import annotations

from torch import Tensor

from discretegrad.autograd import append_dims
from discretegrad.coupling import Coupling, Drawn
from discretegrad.frozen import frozen
from discretegrad.ops import score as score_ops
from discretegrad.weights.base import Weights, weigh


@frozen
class Score(Weights[Drawn]):
    """`sum_s w_s f_s (e_{z_s} - p)`: the score function, right for every coupling, for each point has law p."""

    differences = False

    def can_wait(self, coupling: Coupling) -> bool:
        return True

    def refuse(self, coupling: Coupling) -> None:
        """No coupling is refused."""

    def unbiased(self, coupling: Coupling) -> bool:
        return True

    def gradient(self, drawn: Drawn, values: Tensor, centred: bool = False) -> Tensor:
        """S numbers a variable are scattered, less the softmax times their sum where that is not zero."""
        own = drawn.value_weights()
        # A point without probability must not contribute, whatever f returned there.
        weighted = values / drawn.indices.shape[0] if own is None else weigh(append_dims(own, values.ndim), values)
        return score_ops.scatter(drawn.indices, weighted, drawn.logits.shape[-1]) if centred else drawn.score(weighted)
