"""Matryoshka codes: a document as a few small numbers, of which the first ones are a shorter code."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.pairs import Mixture, Pairs
from experiments.engine import Settings, Step, World
from experiments.errors import UserError, require_count
from experiments.parts.code_draws import require_draws
from experiments.parts.towers import embed
from experiments.systems.gemini_embedding.model import GeminiEmbedding
from experiments.systems.gemini_embedding.task import Examples, GeminiEmbeddingTask

TEXTS = 4096
"""Training documents, at most, that the codebooks start from."""
ROUNDS = 10
"""Of k-means."""
ENTROPY = 0.3
"""Of the posterior at the start, over the largest there is."""


class Codebooks(nn.Module):
    """A residual quantiser: V codebooks of C vectors, the sum of one from each is an embedding.

    Args:
        variables: V.
        categories: C.
        dimensions: D.
    """

    def __init__(self, variables: int, categories: int, dimensions: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(variables, categories, dimensions) * dimensions**-0.5)
        self.log_sharpness = nn.Parameter(torch.zeros(()))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Of the codes of embeddings `[N, D]`: `[N, V, C]`, sharpness times minus the squared distances.

        A variable sees what the likeliest vectors of those before it leave of the embedding, so that the likeliest
        code is the quantiser's greedy one.
        """
        rest, found = embeddings, []
        for vectors in self.vectors:
            likeness = 2 * rest @ vectors.T - vectors.square().sum(1)
            found.append(likeness)
            rest = rest - vectors[likeness.argmax(1)]
        return self.log_sharpness.exp() * torch.stack(found, 1)

    def decode(self, points: Tensor, level: int) -> Tensor:
        """Unit vectors `[..., N, D]` of the first variables of one-hots `[..., N, V, C]`."""
        return F.normalize(torch.einsum("...vc,vcd->...d", points[..., :level, :], self.vectors[:level]), dim=-1)

    @torch.no_grad()
    def start(self, embeddings: Tensor, generator: torch.Generator) -> None:
        """Fit them to embeddings `[N, D]` by k-means, one after the other, and set the sharpness."""
        rest = embeddings
        for vectors in self.vectors:
            vectors.copy_(rest[torch.randperm(len(rest), generator=generator)[: len(vectors)].to(rest.device)])
            for _ in range(ROUNDS):
                nearest = torch.cdist(rest, vectors).argmin(1)
                on = F.one_hot(nearest, len(vectors)).to(rest.dtype)
                counts = on.sum(0).unsqueeze(1)
                vectors.copy_(torch.where(counts > 0, on.T @ rest / counts.clamp(min=1), vectors))
            rest = rest - vectors[torch.cdist(rest, vectors).argmin(1)]
        self.log_sharpness.zero_()
        likeness, wanted = self.logits(embeddings), ENTROPY * math.log(self.vectors.shape[1])
        low, high = 1e-3, 1e6
        for _ in range(40):  # the entropy falls with the sharpness
            middle = math.sqrt(low * high)
            above = float(dg.objectives.entropy(middle * likeness).mean()) / likeness.shape[1] > wanted
            low, high = (middle, high) if above else (low, middle)
        self.log_sharpness.fill_(math.log(low))


class CodesTask(GeminiEmbeddingTask):
    """Train codes of documents for queries that stay vectors, so that prefixes of a code serve as shorter ones.

    A document has V numbers below C, from the posterior of `Codebooks`. The loss is the masked softmax over the
    documents of the batch, as the first few numbers decode them, the sum over all levels; a document's logits follow an
    estimator's gradient of its own terms (docs/guide/shared_values.md), and all else the loss's.

    Args:
        mixture, model, vocabulary, length, temperature, trigrams, prompts, mask: see `GeminiEmbeddingTask`.
        estimator: for categorical latents, whose first point is a draw.
        variables: V.
        categories: C.
        levels: of how many numbers the codes are that are trained and judged.
        others: of `GeminiEmbeddingTask`; hard negatives have no codes, and are refused.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        mixture: Mixture | Pairs,
        model: Callable[..., GeminiEmbedding],
        estimator: dg.Estimator,
        variables: int = 8,
        categories: int = 16,
        levels: Sequence[int] = (2, 4, 8),
        **others: Any,
    ) -> None:
        super().__init__(mixture, model, **others)
        require_count("task.variables", variables)
        require_count("task.categories", categories, least=2)
        for level in levels:
            require_count("each of task.levels", level)
        if not levels or max(levels) > variables:
            raise UserError(f"task.levels={list(levels)} must be numbers up to task.variables={variables}.")
        require_draws(estimator, "categorical", learners=False)
        if self.miner is not None:
            raise UserError("hard negatives have no codes; leave task.miner out.")
        self.estimator, self.levels = estimator, sorted(levels)
        self.codebooks = Codebooks(variables, categories, self.dimensions)

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns."""
        return super().measures | {"codes_used": "of a variable's", "sharpness": "of the logits"}

    @property
    def title(self) -> str:
        """Sizes and data."""
        variables, categories, _ = self.codebooks.vectors.shape
        levels = ", ".join(map(str, self.levels))
        return f"Codes of {variables} x {categories}, trained at {levels}, on {self.mixture.name}"

    def views(self) -> list[str]:
        return super().views() + [f"mrr_code_{level}" for level in self.levels]

    def begin(self, settings: Settings, world: World) -> None:
        """Also fits the codebooks to training documents."""
        super().begin(settings, world)
        share = max(1, TEXTS // len(self.mixture.tasks))
        texts = [self.reader.columns[4 * task + 1] for task in range(len(self.mixture.tasks))]
        training = self.training
        self.eval()
        vectors = torch.cat([embed(self.model.tower, t.take(slice(0, share)), world) for t in texts])
        self.train(training)
        self.codebooks.start(vectors, torch.Generator().manual_seed(settings.seed))

    def forward(self, batch: Examples, generator: torch.Generator) -> Step:
        """The surrogate of every document's own terms, which has the loss's gradient for all else too."""
        queries, documents = self.model(batch.queries), self.model(batch.documents)
        draw = self.estimator.sample(self.codebooks.logits(documents), generator)
        values, loss = self.own_terms(draw.points, queries, self._equal(batch))
        surrogate = self.world.size * self.estimator.surrogate(draw, values).sum()
        return Step(surrogate - surrogate.detach() + loss, {"train_loss": loss})

    def own_terms(self, points: Tensor, queries: Tensor, equal: Tensor) -> tuple[Tensor, Tensor]:
        """What of the loss depends on each document's own code, `[S, B]`, and the mean loss of the levels.

        Args:
            points: one-hots `[S, B, V, C]` of this process's documents.
            queries: of this process, `[B, D]`.
            equal: `[B, size * B]`, from `equal_texts`.
        """
        own = slice(self.world.rank * len(queries), (self.world.rank + 1) * len(queries))
        equal, queries = self.world.gather(equal.long()).bool(), self.world.gather(queries)
        values, loss = queries.new_zeros(()), queries.new_zeros(())
        for level in self.levels:
            decoded = self.codebooks.decode(points, level).transpose(0, 1).contiguous()
            scores = queries @ self.world.gather(decoded).transpose(0, 1).mT / self.temperature
            found = dg.objectives.contrastive(scores, mask=~equal)
            values, loss = values + found.values[:, own], loss + found.loss / len(self.levels)
        return values, loss

    def seen(self, queries: Tensor, documents: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Judges vectors, and the likeliest codes at all levels."""
        yield from super().seen(queries, documents)
        points = self._likeliest(documents)
        for level in self.levels:
            yield f"mrr_code_{level}", queries, self.codebooks.decode(points, level)

    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Also tells how many codes held-out documents have, the mean over variables."""
        texts = [judging.documents for judging in self.judgings().values()]
        documents = torch.cat([embed(self.model.tower, each, self.world) for each in texts])
        used = (self._likeliest(documents).sum(0) > 0).sum(1).double().mean()
        return super().evaluate(most) | {"codes_used": float(used)}

    def noted(self) -> dict[str, float | None]:
        """The sharpness."""
        return {"sharpness": float(self.codebooks.log_sharpness.detach().exp())}

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All, in one."""
        return {"optimizer": [*self.model.parameters(), *self.codebooks.parameters()]}

    @torch.no_grad()
    def _likeliest(self, documents: Tensor) -> Tensor:
        """One-hots `[N, V, C]`."""
        logits = self.codebooks.logits(documents)
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
