"""What learns beside the model to make an estimator better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from discretegrad.control_variate import ControlVariate
from discretegrad.draw import Draw
from discretegrad.frozen import Made


class Statistics(nn.Module):
    """A module whose own buffers are statistics, which keep their dtype whatever that of the module becomes.

    A moving average in half precision overflows, or stalls where a step is less than its rounding.
    """

    def move(self, name: str, new: Tensor, share: float) -> None:
        """Move the average of that name towards what is new, that share of the way."""
        average = getattr(self, name)
        moved = average.lerp(new.to(average.dtype), share)
        if torch.compiler.is_compiling():
            # A compiled backward pass computes again from buffers as the forward pass leaves them, not as it saw them.
            setattr(self, name, moved)
        else:
            average.copy_(moved)  # others, as DDP, hold the buffer itself

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `.to`, `.half()` and their like call: the buffers follow to another device, not to another dtype."""
        kept = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, before in kept.items():
            after = self._buffers[name]
            if before is not None and after is not None and after.dtype != before.dtype:
                self._buffers[name] = after.to(before.dtype) if before.is_meta else before.to(after.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Also `load_state_dict(..., assign=True)` of what was saved in another dtype."""
        for name, buffer in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if buffer is not None and isinstance(saved, Tensor):
                state_dict[prefix + name] = saved.to(buffer.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args)


class Learner(Made, nn.Module, ControlVariate):
    """A control variate with a state or parameters.

    In every step, after the surrogate was made: add `loss` to what is minimised, or minimise it with an optimiser of
    its own, and call `update`.
    """

    def loss(self, draw: Draw, values: Tensor, context: Any = None) -> Tensor:
        """A scalar to minimise beside the objective; zero where there are no parameters to fit."""
        return values.new_zeros(())

    def update(self, draw: Draw, values: Tensor, context: Any = None) -> None:
        """Take the values into the state: after the surrogate was made, never before."""
