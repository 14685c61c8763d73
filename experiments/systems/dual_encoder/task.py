"""The dual encoder as a task: pairs of texts in, the in-batch softmax out; judged by what held-out queries find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from experiments.data.pairs import Pair, Pairs
from experiments.engine import Settings, Step, Task, UserError, World, require_count, require_number
from experiments.parts.batches import Shuffled
from experiments.parts.contrastive import equal_texts, in_batch_softmax, related
from experiments.parts.retrieval import retrieval
from experiments.parts.text import Tokens, encode, trained_tokenizer
from experiments.parts.towers import embed
from experiments.systems.dual_encoder.model import DualEncoder


class Texts(NamedTuple):
    """Pairs as tokens, row by row."""

    queries: Tokens
    documents: Tokens

    def take(self, index: Tensor | slice) -> Texts:
        """Some of the pairs."""
        return Texts(self.queries.take(index), self.documents.take(index))


class DualEncoderTask(Task):
    """Train one tower or two to embed queries near their documents.

    Args:
        pairs: the data.
        model: makes it from `vocabulary` and `length`.
        vocabulary: tokens at most of the tokenizer that is trained on the training pairs; a pretrained encoder has its
            own.
        length: in tokens, to which longer texts are cut off.
        temperature: of the softmax over cosines.

    Raises:
        UserError: where the parts do not fit together.
    """

    measures: ClassVar = {
        "train_loss": "nats per pair",
        "mrr": "mean reciprocal rank",
        "p_at_1": "share of queries",
    }

    def __init__(
        self,
        pairs: Pairs,
        model: Callable[..., DualEncoder],
        vocabulary: int = 8000,
        length: int = 24,
        temperature: float = 0.05,
    ) -> None:
        super().__init__()
        require_count("task.vocabulary", vocabulary, least=3)
        require_count("task.length", length)
        require_number("task.temperature", temperature, least=0, below=float("inf"))
        if not temperature:
            raise UserError("task.temperature must be above 0, for scores are divided by it.")
        self.pairs, self.vocabulary, self.length, self.temperature = pairs, vocabulary, length, temperature
        self.model = model(vocabulary=vocabulary, length=length)
        self.tokenizer = ""
        """As JSON, from `begin` on."""

    @property
    def title(self) -> str:
        """Towers and data."""
        shared = self.model.query_tower is self.model.document_tower
        return f"{'One shared tower' if shared else 'Two towers'} on {self.pairs.name}"

    def begin(self, settings: Settings, world: World) -> None:
        """See `Task.begin`; trains the tokenizer if the cache has none for these texts."""
        self.world = world
        self.order = Shuffled(len(self.pairs.train), settings.batch, settings.seed, world)
        self._shown = settings.progress and world.writes
        # In one process, whose result is all processes': they need not share a cache.
        made = self._made() if world.writes else None
        self._read(world.every(made)[0])

    def batch(self, step: int) -> Texts:
        """Pairs `[B]`."""
        return self.train_texts.take(self.order(step))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All in one."""
        return {"optimizer": list(self.model.parameters())}

    def forward(self, batch: Texts, generator: torch.Generator) -> Step:
        """The in-batch softmax in both directions, over the pairs of all processes."""
        queries, documents = self.model(*batch)
        equal = equal_texts(batch.queries.text, batch.documents.text, self.world)
        loss = in_batch_softmax(queries, documents, equal, self.temperature, self.world).mean()
        return Step(loss, {"train_loss": loss.detach()})

    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """What held-out queries find among all held-out documents; a document with the same text is as good."""
        documents = embed(self.model.document_tower, self.held_out.documents, self.world)
        every = 1 if most is None else max(1, len(documents) // most)
        asked = self.held_out.take(slice(0, None if most is None else most * every, every))
        queries = embed(self.model.query_tower, asked.queries, self.world)

        def relevant(part: slice) -> Tensor:
            return related(
                asked.queries.text[part],
                asked.documents.text[part],
                self.held_out.queries.text,
                self.held_out.documents.text,
            )

        return retrieval(queries, documents, relevant, self.world)

    def pictures(self, folder: Path) -> list[Path]:
        """Where the towers put held-out texts, and at which places queries find theirs."""
        from experiments.systems.dual_encoder.pictures import draw  # takes matplotlib and scikit-learn with it

        return draw(folder, self.model, self.held_out.queries, self.held_out.documents, self.title)

    def get_extra_state(self) -> dict[str, Tensor]:
        """For the checkpoint: the tokenizer, without which the weights mean nothing."""
        return {"tokenizer": torch.frombuffer(bytearray(self.tokenizer.encode()), dtype=torch.uint8)}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        tokenizer = bytes(state["tokenizer"].tolist()).decode()
        if tokenizer != self.tokenizer:  # another version of the package may train another
            self._read(tokenizer)

    def _made(self) -> str:
        """The tokenizer as JSON."""
        if self.model.folder is not None:
            return (self.model.folder / "tokenizer.json").read_text(encoding="utf-8")
        texts = [text for pair in self.pairs.train for text in pair]
        return trained_tokenizer(texts, self.vocabulary, self.pairs.cache, self._shown)

    def _read(self, tokenizer: str) -> None:
        """All texts, by a tokenizer."""
        self.tokenizer = tokenizer
        self.train_texts, self.held_out = (self._texts(pairs) for pairs in (self.pairs.train, self.pairs.held_out))

    def _texts(self, pairs: Sequence[Pair]) -> Texts:
        from tokenizers import Tokenizer

        own, padding = Tokenizer.from_str(self.tokenizer), self.model.padding
        columns = ([pair.query for pair in pairs], [pair.document for pair in pairs])
        return Texts(
            *(encode(own, column, self.length, padding, self._shown).to(self.world.device) for column in columns)
        )
