"""The decoder before it is adapted: a causal language model learns definitions, one token after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from experiments.data.pairs import Pairs
from experiments.engine import Settings, Step, Task, World
from experiments.errors import require_count
from experiments.parts.batches import Shuffled
from experiments.parts.reader import Reader
from experiments.parts.retrieval import spread
from experiments.parts.text import Tokens
from experiments.systems.gemma_encoder.decoder import Decoder
from experiments.systems.gemma_encoder.streams import Stream, join

CHUNK = 128
"""Streams that are judged at a time."""
SHOWN, GIVEN, WRITTEN = 12, 4, 12
"""Texts in the picture, the tokens of each that are given, and those that are written."""


class DecoderTask(Task):
    """Train a causal language model on texts, several in a stream.

    Args:
        pairs: whose documents are the texts.
        model: makes it from `vocabulary` and `length`.
        vocabulary: tokens at most of the tokenizer that is trained; a decoder that is started from has its own.
        length: in tokens, to which longer texts are cut off.
        texts: in a stream, drawn anew in every step: what begins behind the end of a text is seen, and positions
            beyond one text's.

    Raises:
        UserError: where the parts do not fit together.
    """

    measures: ClassVar = {"train_loss": "nats per token", "held_out_loss": "nats per token of texts"}
    world: World

    def __init__(
        self, pairs: Pairs, model: Callable[..., Decoder], vocabulary: int = 8000, length: int = 32, texts: int = 2
    ) -> None:
        super().__init__()
        require_count("task.texts", texts)
        self.reader = Reader(vocabulary, length, None, sentinels=1, bare=True)
        self.pairs, self.texts = pairs, texts
        self.model = model(vocabulary=vocabulary, length=texts * (length + 1) + 1)

    @property
    def title(self) -> str:
        """Model and data."""
        return f"A causal language model, {self.model.network.config.model_type}, on the texts of {self.pairs.name}"

    def begin(self, settings: Settings, world: World) -> None:
        """Also trains the tokenizer, if the cache has none for these texts."""
        self.world, model = world, self.model
        learned, judged = ([pair.document for pair in part] for part in (self.pairs.train, self.pairs.held_out))
        self.order = Shuffled(len(learned), settings.batch * self.texts, settings.seed, world)
        columns, cache = [learned, judged], self.pairs.cache
        self.reader.begin(columns, learned, model.tokenizer, cache, model.padding, [], world, settings.progress)

    def batch(self, step: int) -> Stream:
        """As many streams as the batch has."""
        rows = self.order(step).unflatten(0, (self.texts, -1))
        return self.stream([self.reader.columns[0].take(own) for own in rows])

    def stream(self, texts: list[Tokens]) -> Stream:
        """Texts one behind the other, the last one's end included."""
        return join(texts, self.model.begin, self.model.end, self.model.padding, ended=True)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All in one."""
        return {"optimizer": list(self.model.parameters())}

    def forward(self, batch: Stream, generator: torch.Generator) -> Step:
        """The mean over all tokens but those that begin."""
        loss = self.model.nats(batch).sum() / batch.mask[:, 1:].sum()
        return Step(loss, {"train_loss": loss.detach()})

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Texts that were not trained on, each by itself with its end."""
        chosen = spread(len(self.reader.columns[1].ids), most, self.world.device)
        sums = torch.zeros(2, dtype=torch.float64, device=self.world.device)
        for part in chosen[self.world.share(len(chosen))].split(CHUNK):
            if len(part):
                stream = self.stream([self.reader.columns[1].take(part)])
                sums += torch.stack([self.model.nats(stream).sum(), stream.mask[:, 1:].sum()]).double()
        [sums] = self.world.sum([sums])
        return {"held_out_loss": float(sums[0] / sums[1])}

    @torch.no_grad()
    def write(self, ids: Tensor) -> Tensor:
        """Go on with streams of one length `[N, L]` by the likeliest token each time: `[N, WRITTEN]`."""
        start = ids.shape[1]
        for _ in range(WRITTEN):
            last = self.model.network(input_ids=ids, use_cache=False).logits[:, -1]
            ids = torch.cat((ids, last.argmax(-1, keepdim=True)), 1)
        return ids[:, start:]

    def pictures(self, folder: Path) -> list[Path]:
        """How held-out texts go on, and how the model goes on."""
        from experiments.parts.text_pictures import draw_table  # takes matplotlib with it

        texts = self.reader.columns[1]
        rows = (texts.lengths > GIVEN).nonzero().squeeze(1)
        texts = texts.take(rows[spread(len(rows), SHOWN, self.world.device)])
        begun = self.stream([texts]).ids[:, : GIVEN + 1]
        decode = self.reader.own.decode_batch
        rest = [ids[GIVEN:length] for ids, length in zip(texts.ids.tolist(), texts.lengths.tolist(), strict=True)]
        columns = decode(begun[:, 1:].tolist()), decode(rest), decode(self._until_end(self.write(begun)))
        labels = {"given": 0.25, "the text goes on": 0.45, "the model goes on": 0.3}
        return [draw_table(folder / "continuations.png", [*zip(*columns, strict=True)], labels, self.title)]

    def _until_end(self, ids: Tensor) -> list[list[int]]:
        ended = (ids == self.model.end).cumsum(1) > 0
        return [row[~over].tolist() for row, over in zip(ids, ended, strict=True)]

    def get_extra_state(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return self.reader.state()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        self.reader.load(state)
