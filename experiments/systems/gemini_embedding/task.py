"""Gemini Embedding as a task: several tasks, one a batch; judged by what held-out queries of each find."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from experiments.data.pairs import Asked, Mixture, Pairs
from experiments.engine import Settings, Step, Task, World
from experiments.engine.world import mixed
from experiments.errors import UserError, require_count
from experiments.parts.batches import Shuffled
from experiments.parts.contrastive import equal_texts, query_softmax, require_temperature
from experiments.parts.reader import Reader
from experiments.parts.retrieval import Judged
from experiments.parts.sentences import save_sentence_transformer
from experiments.parts.starts import saved, take
from experiments.parts.text import Tokens
from experiments.systems.gemini_embedding.judging import Judging, judge, prefix
from experiments.systems.gemini_embedding.mining import mine
from experiments.systems.gemini_embedding.model import GeminiEmbedding


class Examples(NamedTuple):
    """Of one task, row by row."""

    queries: Tokens
    documents: Tokens
    negatives: Tokens | None


class GeminiEmbeddingTask(Task):
    """Train one encoder to embed the queries of several tasks near their documents.

    Args:
        mixture: the tasks; or pairs, which are one task without a prompt.
        model: makes it from `vocabulary` and `length`.
        vocabulary: tokens at most of the tokenizer that is trained on the training texts; a pretrained encoder and a
            run that is started from have their own.
        length: in tokens, to which longer texts are cut off.
        temperature: of the softmax over cosines.
        trigrams: rows for hashed trigrams, and tokens are words; None: tokens are parts of words.
        prefixes: sizes of the vector's prefixes that are trained, each with the same weight; None: the whole alone.
        cuts: sizes of the prefixes that are judged beside the whole.
        prompts: whether a query begins with what its task asks for.
        mask: whether pairs with the same query or document are no negatives of each other.
        miner: the folder of a run of this system that finds a hard negative for every query; None: there are none.
        neighbours: documents among which a negative is chosen: see `mined`.
        keep: which of them: lowest or nearest.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        mixture: Mixture | Pairs,
        model: Callable[..., GeminiEmbedding],
        vocabulary: int = 8000,
        length: int = 24,
        temperature: float = 0.05,
        trigrams: int | None = None,
        prefixes: Sequence[int] | None = None,
        cuts: Sequence[int] = (),
        prompts: bool = True,
        mask: bool = True,
        miner: str | None = None,
        neighbours: int = 8,
        keep: str = "lowest",
    ) -> None:
        super().__init__()
        self.reader = Reader(vocabulary, length, trigrams)
        require_temperature(temperature)
        require_count("task.neighbours", neighbours)
        for name, value in (("prompts", prompts), ("mask", mask)):
            if not isinstance(value, bool):
                raise UserError(f"task.{name} is true or false, not {value!r}.")
        if keep not in ("lowest", "nearest"):
            raise UserError(f"task.keep is lowest or nearest, not {keep!r}.")
        if isinstance(mixture, Pairs):
            mixture = Mixture(mixture.name, {"pairs": Asked("", mixture)}, mixture.cache)
        self.mixture = mixture
        self.temperature, self.prompts, self.mask = temperature, prompts, mask
        self.miner, self.neighbours, self.keep = miner, neighbours, keep
        self.model = model(vocabulary=vocabulary, length=length, trigrams=trigrams)
        self.dimensions = int(self.model.tower.projection.out_features)
        self.prefixes = self._sizes("prefixes", [self.dimensions] if prefixes is None else prefixes)
        self.cuts = self._sizes("cuts", cuts)

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns."""
        own = {f"mrr_{task}": "mean reciprocal rank" for task in self.mixture.tasks}
        own |= {f"p_at_1_{task}": "share of queries" for task in self.mixture.tasks}
        return {"train_loss": "nats per query"} | dict.fromkeys(self.views(), "mean over tasks") | own

    @property
    def title(self) -> str:
        """Sizes and data."""
        return (
            f"Embeddings of {self.dimensions}, trained at {', '.join(map(str, self.prefixes))}, on {self.mixture.name}"
        )

    def views(self) -> list[str]:
        """The figures that `seen` gives, each of which is a mean over tasks."""
        return ["mrr", "p_at_1", *(f"mrr_at_{cut}" for cut in self.cuts)]

    def begin(self, settings: Settings, world: World) -> None:
        self.world, self.seed = world, settings.seed
        self.orders, self.held_out = [], []
        columns: list[Sequence[str]] = []
        for name, (prompt, pairs) in self.mixture.tasks.items():
            try:
                self.orders.append(Shuffled(len(pairs.train), settings.batch, settings.seed, world))
            except UserError as error:
                raise UserError(f"task {name}: {error}") from error
            judged = Judged.of(pairs.held_out, pairs.others)
            self.held_out.append(judged)
            before = f"{prompt}: " if prompt and self.prompts else ""
            columns += [[before + pair.query for pair in pairs.train], [pair.document for pair in pairs.train]]
            columns += [[before + query for query in judged.queries], judged.documents]
        trained_on = [text for index, column in enumerate(columns) if index % 4 < 2 for text in column]
        model = self.model
        cache, shown = self.mixture.cache, settings.progress
        self.reader.begin(columns, trained_on, model.tokenizer, cache, model.padding, model.subwords, world, shown)
        if self.miner is not None:
            self._mine(self.miner)

    def batch(self, step: int) -> Examples:
        """Of the task whose turn it is: every task once in as many steps as there are, in an order of their own."""
        turn, place = divmod(step, len(self.orders))
        shuffled = torch.randperm(len(self.orders), generator=torch.Generator().manual_seed(mixed(self.seed, turn)))
        task = int(shuffled[place])
        return self._examples(task, self.orders[task](turn))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All, in one."""
        return {"optimizer": list(self.model.parameters())}

    def forward(self, batch: Examples, generator: torch.Generator) -> Step:
        """The masked softmax of queries over the documents of all processes, the mean over prefixes."""
        queries, documents = self.model(batch.queries), self.model(batch.documents)
        negatives = None if batch.negatives is None else self.model(batch.negatives)
        equal = self._equal(batch)
        losses = []
        for size in self.prefixes:
            hard = None if negatives is None else prefix(negatives, size)
            cut = prefix(queries, size), prefix(documents, size)
            losses.append(query_softmax(*cut, equal, self.temperature, hard, self.world).mean())
        loss = torch.stack(losses).mean()
        return Step(loss, {"train_loss": loss.detach()})

    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """What held-out queries find among all held-out documents of their task: see `judge`."""
        return judge(self.model.tower, self.judgings(), self.seen, most, self.world)

    def seen(self, queries: Tensor, documents: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """What is judged of embeddings: the name of a figure, empty for the whole, and vectors of both kinds."""
        yield "", queries, documents
        for cut in self.cuts:
            yield f"mrr_at_{cut}", prefix(queries, cut), prefix(documents, cut)

    def judgings(self) -> dict[str, Judging]:
        """Of every task, by its name."""
        columns = self.reader.columns
        return {
            name: Judging(columns[4 * task + 2], columns[4 * task + 3], self.held_out[task])
            for task, name in enumerate(self.mixture.tasks)
        }

    def pictures(self, folder: Path) -> list[Path]:
        """What prefixes of every size find."""
        from experiments.systems.gemini_embedding.pictures import draw  # takes matplotlib with it

        return draw(folder, self)

    def export(self, folder: Path) -> str:
        """Write the encoder as a model of sentence-transformers; how to load it."""
        save_sentence_transformer(folder, self.model.tower, self.model.tower, self.reader.own, self.reader.length)
        return f"SentenceTransformer({str(folder)!r}, truncate_dim={self.prefixes[0]}).encode('PROMPT: ' + query)"

    def get_extra_state(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return self.reader.state()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        self.reader.load(state)

    def _equal(self, batch: Examples) -> Tensor:
        equal = equal_texts(batch.queries.text, batch.documents.text, self.world)
        return equal if self.mask else torch.zeros_like(equal)

    def _examples(self, task: int, index: Tensor) -> Examples:
        queries, documents = self.reader.columns[4 * task : 4 * task + 2]
        negatives = None
        if self.miner is not None:
            negatives = documents.take(self.get_buffer(f"negatives_{task}")[queries.text[index]])
        return Examples(queries.take(index), documents.take(index), negatives)

    def _mine(self, folder: str) -> None:
        """Keep what the miner finds, also in the checkpoint: a run goes on with the same negatives."""
        found = saved("task.miner", folder, "model.tower.")
        if found.tokenizer != self.reader.tokenizer:
            raise UserError(
                f"task.miner={folder} holds a run with another tokenizer; let both start from one run (model.start)."
            )
        tower = copy.deepcopy(self.model.tower).eval()
        take("task.miner", folder, tower, found.weights)
        for task, (_, pairs) in enumerate(self.mixture.tasks.values()):
            queries, documents = self.reader.columns[4 * task : 4 * task + 2]
            rows = mine(tower, (queries, documents), pairs, self.neighbours, self.keep, self.world)
            self.register_buffer(f"negatives_{task}", rows)

    def _sizes(self, name: str, sizes: Sequence[int]) -> list[int]:
        for size in sizes:
            require_count(f"each of task.{name}", size)
        if (not sizes and name == "prefixes") or any(size > self.dimensions for size in sizes):
            raise UserError(f"task.{name}={list(sizes)} must be sizes up to model.dimensions={self.dimensions}.")
        return sorted(sizes)
