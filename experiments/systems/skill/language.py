"""What pre-training and closed-book answers have in common: a language model, and texts that it completes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from experiments.engine import Task, World
from experiments.parts.answers import exact_match
from experiments.parts.language_model import LanguageModel
from experiments.parts.reader import Reader
from experiments.parts.text import SENTINEL, Tokens

SENTINELS = 32
"""Of a tokenizer that is trained."""
GAP = SENTINEL.format(0)
CHUNK = 128
"""Texts that are completed at a time."""


class LanguageTask(Task):
    """A language model and its reader.

    Args:
        model: makes it from `vocabulary`.
        vocabulary: tokens at most of the tokenizer that is trained; one that is started from has its own.
        length: in tokens, to which longer texts are cut off.
    """

    def __init__(self, model: Callable[..., LanguageModel], vocabulary: int, length: int) -> None:
        super().__init__()
        self.reader = Reader(vocabulary, length, None, SENTINELS)
        self.model = model(vocabulary=vocabulary)

    def read(
        self, columns: Sequence[Sequence[str]], trained_on: Sequence[str], cache: str, progress: bool, world: World
    ) -> None:
        """Give the reader its texts; `trained_on` is for a tokenizer of one's own."""
        model = self.model
        self.reader.begin(columns, trained_on, model.tokenizer, cache, model.padding, model.subwords, world, progress)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All in one."""
        return {"optimizer": list(self.model.parameters())}

    def nats(self, texts: Tokens, answers: Tokens) -> Tensor:
        """Minus the log-probability of all answers together."""
        return -self.model.log_probability(self.model.encode(texts), answers).sum()

    @torch.no_grad()
    def right(self, texts: Tokens, answers: Sequence[Sequence[str]], length: int) -> Tensor:
        """Whether what the model says is one of the answers, bool `[N]`: exact match, as in SQuAD."""
        said: list[str] = []
        for rows in torch.arange(len(texts.ids), device=texts.ids.device).split(CHUNK):
            found = self.model.complete(self.model.encode(texts.take(rows)), length)
            said += self.reader.own.decode_batch(found.tolist())
        return torch.tensor(exact_match(said, answers), dtype=torch.bool, device=texts.ids.device)

    def get_extra_state(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return self.reader.state()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        self.reader.load(state)


def macro(right: Tensor, groups: Tensor, count: int, world: World) -> list[float]:
    """The share of each of `count` groups `[N]` that is right `[N]`, over all processes."""
    sums = torch.zeros(2, count, dtype=torch.float64, device=world.device)
    sums[0].index_add_(0, groups, right.double())
    sums[1].index_add_(0, groups, torch.ones_like(right, dtype=torch.float64))
    hits, counts = world.sum([sums])[0]
    shares: list[float] = (hits / counts).tolist()
    return shares
