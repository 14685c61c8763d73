"""What learns at which step, and what that takes."""

from __future__ import annotations

from typing import NamedTuple

import discretegrad as dg
from experiments.errors import UserError, require_count, require_number

PASSES = ("encoder_passes", "decoder_passes", "language_passes")


class Stages(NamedTuple):
    """Tokenizer and language model learn together, or the one for some steps and then the other."""

    tokenizer_steps: int | None
    """Of the first of two stages; None: all learns together."""
    sampled: bool
    """Whether an estimator is asked for the tokenizer's gradient; False: it is a VQ-VAE."""
    examples: int
    """Of a stream."""
    warmup_steps: int
    """In which what the tokens cost gets its weight."""
    temperature_end: float | None = None
    """Of the estimator, at the end of the first stage; None: it stays."""

    def learning(self, step: int) -> tuple[bool, bool]:
        """Whether the tokenizer learns at a step, and whether the language model does."""
        first = self.tokenizer_steps
        return first is None or step < first, first is None or step >= first

    def passes(self, steps: int, batch: int, points: int) -> dict[str, int]:
        """How many images have gone through each network in the first so many steps, each with a backward pass.

        But for the encoder's passes of the second stage, which have none.

        Args:
            steps: from the start.
            batch: images of a step, in all processes.
            points: evaluations of the estimator.
        """
        points = points if self.sampled else 1
        both = steps if self.tokenizer_steps is None else 0
        first = min(steps, self.tokenizer_steps or 0)
        second = steps - both - first
        in_streams = batch // self.examples * self.examples
        objective = points if self.sampled else 1
        language = both * (objective * batch + in_streams) + second * (batch + in_streams)
        return dict(zip(PASSES, (steps * batch, (both + first) * points * batch, language), strict=True))

    def weight(self, step: int) -> float:
        """Of what the tokens cost in the objective: from 0 to 1 over the first steps, evenly."""
        return 1.0 if step >= self.warmup_steps else step / self.warmup_steps

    def annealed(self, estimator: dg.Estimator, step: int) -> dg.Estimator:
        """With the temperature of a step: from its own to the end geometrically, over the first stage."""
        if self.temperature_end is None or self.tokenizer_steps is None:
            return estimator
        start, share = float(estimator.temperature), min(1.0, step / self.tokenizer_steps)
        return estimator.replace(temperature=start * (self.temperature_end / start) ** share)

    def refuse(self, estimator: dg.Estimator) -> None:
        """Refuse what is no number of steps, and a temperature that nothing has.

        Raises:
            UserError: that says what to do.
        """
        require_count("task.warmup_steps", self.warmup_steps, least=0)
        if self.tokenizer_steps is not None:
            require_count("task.tokenizer_steps", self.tokenizer_steps)
        if self.temperature_end is not None:
            require_number("task.temperature_end", self.temperature_end, least=1e-6, below=float("inf"))
            given = self.tokenizer_steps is not None and self.sampled and "temperature" in estimator.made_from
            if not given or not isinstance(estimator.temperature, float | int):
                raise UserError(
                    "task.temperature_end is of an estimator with a temperature, such as gumbel_softmax, in the first "
                    "of two stages; give task.tokenizer_steps and such an estimator, or leave it out."
                )
