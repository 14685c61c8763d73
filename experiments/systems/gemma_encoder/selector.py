"""What chooses the words that an encoder may read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.errors import UserError
from experiments.parts.estimators import require_estimator
from experiments.systems.gemma_encoder.encoder import hidden_states
from experiments.systems.gemma_encoder.streams import Stream

LATENTS = {"gates": "bernoulli", "probes": "categorical"}
"""Of the forms of a choice."""


class Selector(nn.Module):
    """Reads all of a text, and says what the encoder may read of it.

    Args:
        decoder: which it is, under a bidirectional mask.
        probes: V, each of which picks one word; None: a gate for every word.
    """

    def __init__(self, decoder: Any, probes: int | None) -> None:
        super().__init__()
        self.decoder, width = decoder, decoder.config.hidden_size
        self.scores = nn.Linear(width, 1 if probes is None else probes)
        self.probes = probes
        if probes is None:
            nn.init.zeros_(self.scores.weight)
            nn.init.ones_(self.scores.bias)  # three words out of four at the start

    def forward(self, stream: Stream) -> Tensor:
        """Logits of gates, `[N, L]`, or of what probes pick, `[N, V, L]`, -inf where there is no word."""
        scores = self.scores(hidden_states(self.decoder, stream, causal=False))
        if self.probes is None:
            return scores.squeeze(-1)
        return scores.transpose(1, 2).masked_fill(~stream.words.unsqueeze(1), -torch.inf)


def refuse(form: str, estimator: dg.Estimator) -> None:
    """What does not fit the form of the choice.

    Raises:
        UserError: that says what does.
    """
    if form not in LATENTS:
        raise UserError(f"task.form is {' or '.join(LATENTS)}, not {form!r}.")
    require_estimator(estimator, form, LATENTS[form])
    if estimator.evaluations is None:
        raise UserError(
            f"{type(estimator).__name__} asks f at as many points as a text is long; use another, such as rloo."
        )
