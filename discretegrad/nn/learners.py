"""A module that holds what an estimator has learned."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from discretegrad.core import Estimator
from discretegrad.draw import Draw


class Learners(nn.Module):
    """An estimator's learners as part of a model.

    Estimators are values, not modules: a model that keeps one in an attribute has neither the parameters nor the
    buffers of its baseline or learned control variate, nor a path's temperature that is a parameter. Kept in this
    module they are in `parameters()` and `state_dict()`, and go along with `.to()`, `copy.deepcopy` and DDP, where
    `estimator` refers to the same.

    Args:
        estimator: any; most have no learners, and then there is nothing to register.

    Example:
        >>> import torch, discretegrad as dg
        >>> held = dg.nn.Learners(dg.NVIL(torch.nn.Linear(3 * 4, 1)))
        >>> optimizer = torch.optim.Adam(held.parameters())
        >>> logits = torch.zeros(5, 3, 4, requires_grad=True)
        >>> draw = held.estimator.sample(logits)
        >>> values = draw.points[..., 0].sum(-1)
        >>> loss = held.estimator.surrogate(draw, values).mean() + held.loss(draw, values)
        >>> held.update(draw, values)
        >>> loss.backward()
        >>> optimizer.step()
    """

    def __init__(self, estimator: Estimator) -> None:
        super().__init__()
        self.estimator = estimator

    @property
    def estimator(self) -> Estimator:
        """The estimator; another one may be assigned, whose learners then take the place of the old one's."""
        return self._estimator

    @estimator.setter
    def estimator(self, estimator: Estimator) -> None:
        if not isinstance(estimator, Estimator):
            raise TypeError(f"the learners are those of an estimator such as RLOO(), not of {estimator!r}.")
        self._estimator = estimator
        self.learners = nn.ModuleList(estimator.learners)
        temperature = getattr(getattr(estimator, "path", None), "temperature", None)
        self.temperature = temperature if isinstance(temperature, nn.Parameter) else None

    def loss(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """What the learners minimise, a scalar to add to the mean of the surrogate; see `Learner.loss`."""
        loss = values.new_zeros(())
        learner: Any
        for learner in self.estimator.learners:
            loss = loss + learner.loss(draw, values, context)
        return loss

    def update(self, draw: Draw, values: Tensor, context: Any = None) -> None:
        """Let the learners take in the values: after the surrogate was made, never before."""
        learner: Any
        for learner in self.estimator.learners:
            learner.update(draw, values, context)

    def extra_repr(self) -> str:
        return repr(self.estimator)
