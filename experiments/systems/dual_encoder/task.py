"""The dual encoder as a task: pairs of texts in, the in-batch softmax out; judged by what held-out queries find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from experiments.data.pairs import Pairs
from experiments.engine import Settings, Step, Task, World
from experiments.errors import UserError, require_number
from experiments.parts.batches import Shuffled
from experiments.parts.contrastive import equal_texts, in_batch_softmax, require_temperature
from experiments.parts.reader import Reader
from experiments.parts.retrieval import MEASURES, Judged, retrieval, spread
from experiments.parts.sentences import save_sentence_transformer
from experiments.parts.text import Tokens
from experiments.parts.towers import Tower, embed
from experiments.parts.words import drop_words
from experiments.systems.dual_encoder import alignment
from experiments.systems.dual_encoder.model import DualEncoder


class Texts(NamedTuple):
    """As tokens; of pairs, row by row."""

    queries: Tokens
    documents: Tokens

    def take(self, index: Tensor) -> Texts:
        """Some of the pairs."""
        return Texts(self.queries.take(index), self.documents.take(index))


class DualEncoderTask(Task):
    """Train one tower or two to embed queries near their documents.

    Args:
        pairs: the data.
        model: makes it from `vocabulary` and `length`.
        vocabulary: tokens at most of the tokenizer that is trained on the training pairs; a pretrained encoder and a
            run that is started from have their own.
        length: in tokens, to which longer texts are cut off.
        temperature: of the softmax over cosines.
        trigrams: rows for hashed trigrams, and tokens are words; None: tokens are parts of words.
        drop: the probability with which a token is left out, in training and judgement: what is learned from texts
            that are paired with themselves, before there are pairs.
        same_tower: whether other queries are negatives of a query, and other documents of a document: SamToNe.

    Raises:
        UserError: where the parts do not fit together.
    """

    measures: ClassVar = {
        "train_loss": "nats per pair",
        **MEASURES,
        **alignment.MEASURES,
    }

    def __init__(
        self,
        pairs: Pairs,
        model: Callable[..., DualEncoder],
        vocabulary: int = 8000,
        length: int = 24,
        temperature: float = 0.05,
        trigrams: int | None = None,
        drop: float = 0.0,
        same_tower: bool = False,
    ) -> None:
        super().__init__()
        self.reader = Reader(vocabulary, length, trigrams)
        require_temperature(temperature)
        require_number("task.drop", drop, least=0, below=1)
        self.pairs, self.temperature = pairs, temperature
        if not isinstance(same_tower, bool):
            raise UserError(f"task.same_tower is true or false, not {same_tower!r}.")
        self.drop, self.same_tower = drop, same_tower
        self.model = model(vocabulary=vocabulary, length=length, trigrams=trigrams)

    @property
    def title(self) -> str:
        """What the towers share, and data."""
        shared, modules = self.model.shared, self.model.modules_of_towers
        if len(shared) == len(modules):
            return f"One shared tower on {self.pairs.name}"
        return f"Two towers{' with one ' * bool(shared)}{', '.join(shared)} on {self.pairs.name}"

    @property
    def train_texts(self) -> Texts:
        """To train on."""
        return Texts(*self.reader.columns[:2])

    @property
    def held_out(self) -> Texts:
        """Queries to judge by, and documents to search."""
        return Texts(*self.reader.columns[2:])

    def begin(self, settings: Settings, world: World) -> None:
        """Also trains the tokenizer, if the cache has none for these texts."""
        self.world = world
        self.order = Shuffled(len(self.pairs.train), settings.batch, settings.seed, world)
        self.judged = Judged.of(self.pairs.held_out, self.pairs.others)
        train, judged, model, cache = self.pairs.train, self.judged, self.model, self.pairs.cache
        columns = [pair.query for pair in train], [pair.document for pair in train], judged.queries, judged.documents
        texts = [text for pair in train for text in pair[:2]]
        shown, tokenizer = settings.progress, model.tokenizer
        self.reader.begin(columns, texts, tokenizer, cache, model.padding, model.subwords, world, shown)

    def batch(self, step: int) -> Texts:
        """Pairs `[B]`."""
        return self.train_texts.take(self.order(step))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All that is not frozen, in one."""
        return {"optimizer": [p for p in self.model.parameters() if p.requires_grad]}

    def forward(self, batch: Texts, generator: torch.Generator) -> Step:
        """The in-batch softmax in both directions, over the pairs of all processes."""
        queries, documents = self.model(*self._dropped(batch, generator))
        equal = equal_texts(batch.queries.text, batch.documents.text, self.world)
        loss = in_batch_softmax(queries, documents, equal, self.temperature, self.world, self.same_tower).mean()
        return Step(loss, {"train_loss": loss.detach()})

    def towers(self) -> tuple[nn.Module, nn.Module]:
        """Those of queries and of documents that are judged."""
        return self.model.query_tower, self.model.document_tower

    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """What held-out queries find among all held-out documents, and how far apart the two lie."""
        query_tower, document_tower = self.towers()
        held_out = self._dropped(self.held_out, torch.Generator(self.world.device).manual_seed(0))
        documents = embed(document_tower, held_out.documents, self.world)
        asked = spread(len(held_out.queries.ids), most, self.world.device)
        queries = embed(query_tower, held_out.queries.take(asked), self.world)
        found = retrieval(queries, documents, lambda part: self.judged.relevant(asked[part]), self.world)
        return found | self.figures(queries, documents)

    def figures(self, queries: Tensor, documents: Tensor) -> dict[str, float]:
        """What else is judged of held-out embeddings `[n, D]` and `[N, D]`."""
        return alignment.alignment(queries, documents)

    def pictures(self, folder: Path) -> list[Path]:
        """Where the towers put held-out texts, and at which places queries find theirs."""
        from experiments.systems.dual_encoder.pictures import draw  # takes matplotlib and scikit-learn with it

        return draw(folder, self.towers(), self.held_out.queries, self.held_out.documents, self.judged, self.title)

    def export(self, folder: Path) -> str:
        """Write the towers as a model of sentence-transformers; how to load it."""
        query, document = self.towers()
        if not isinstance(query, Tower) or not isinstance(document, Tower):
            raise UserError("this run has learned what to share; train that by model.variant, and export it.")
        save_sentence_transformer(folder, query, document, self.reader.own, self.reader.length)
        routes = "encode(texts)" if document is query else "encode_query(texts) and .encode_document(texts)"
        return f"SentenceTransformer({str(folder)!r}).{routes}"

    def get_extra_state(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return self.reader.state()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        self.reader.load(state)

    def _dropped(self, texts: Texts, generator: torch.Generator) -> Texts:
        return Texts(*(drop_words(column, self.drop, generator) for column in texts)) if self.drop else texts
