"""What tasks that train a language model have in common: the model, and texts that it completes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from experiments.engine import Task, World
from experiments.parts.answers import exact_match
from experiments.parts.language_model import CHUNK, SENTINELS, LanguageModel, said
from experiments.parts.reader import Reader
from experiments.parts.retrieval import spread
from experiments.parts.spans import Spans
from experiments.parts.text import Tokens


class LanguageTask(Task):
    """A language model and its reader.

    Args:
        model: makes it from `vocabulary`.
        vocabulary: tokens at most of the tokenizer that is trained; one that is started from has its own.
        length: in tokens, to which longer texts are cut off.
    """

    world: World

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
    def held_out_loss(self, texts: Tokens, spans: Spans, most: int | None) -> float:
        """Nats per left-out token of at most so many texts, always with the same parts left out."""
        device = self.world.device
        chosen = spread(len(texts.ids), most, device)
        share = self.world.share(len(chosen))
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        for start in range(share.start, share.stop, CHUNK):
            part = chosen[start : min(start + CHUNK, share.stop)]
            corrupted = spans(texts.take(part), torch.Generator(device).manual_seed(int(part[0])))
            sums += torch.stack([self.nats(*corrupted), corrupted.answers.lengths.sum()]).double()
        [sums] = self.world.sum([sums])
        return float(sums[0] / sums[1])

    def right(self, texts: Tokens, answers: Sequence[Sequence[str]], length: int) -> Tensor:
        """Whether what the model says is one of the answers, bool `[N]`: exact match, as in SQuAD."""
        rows = torch.arange(len(texts.ids), device=texts.ids.device)
        found = [text for part in rows.split(CHUNK) for text in said(self.reader, self.model, texts.take(part), length)]
        return torch.tensor(exact_match(found, answers), dtype=torch.bool, device=texts.ids.device)

    def get_extra_state(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return self.reader.state()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        self.reader.load(state)
