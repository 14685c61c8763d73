"""Binary codes of documents, for queries that stay vectors: learned with, or without, same-tower negatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.pairs import Pairs
from experiments.engine import Step, World
from experiments.errors import UserError, require_number
from experiments.parts.code_draws import require_draws
from experiments.parts.contrastive import ALONE, equal_texts, in_batch_softmax
from experiments.parts.text import Tokens
from experiments.systems.dual_encoder.model import DualEncoder
from experiments.systems.dual_encoder.task import DualEncoderTask, Texts


class BitsTask(DualEncoderTask):
    """Train a tower of queries, and one that gives a document as many bits as embeddings have dimensions.

    A document's embedding u `[V]` makes the logits sharpness * sqrt(V) u of its bits b, whose code is the unit vector
    (2 b - 1) / sqrt(V), served at the most likely b = (u > 0). Queries are scored by their cosine with codes. The loss
    is that of `DualEncoderTask` on codes; a document's logits follow an estimator's gradient of its own terms of it.

    Args:
        pairs, model, vocabulary, length, trigrams, drop, same_tower: see `DualEncoderTask`.
        temperature: of the softmax over cosines; None: 3.2 / V, for a bit moves a cosine by about 2 / V.
        estimator: for Bernoulli latents, whose first point is a draw.
        sharpness: of the logits, at the start; it is learned.

    Raises:
        UserError: where the parts do not fit together.
    """

    measures: ClassVar = DualEncoderTask.measures | {
        "bit_entropy": "bits of a bit, of all documents",
        "code_entropy": "bits, of all documents",
        "collisions": "share of documents",
        "sharpness": "of the logits",
    }

    def __init__(
        self,
        pairs: Pairs,
        model: Callable[..., DualEncoder],
        estimator: dg.Estimator,
        vocabulary: int = 8000,
        length: int = 24,
        temperature: float | None = None,
        trigrams: int | None = None,
        drop: float = 0.0,
        same_tower: bool = False,
        sharpness: float = 2.0,
    ) -> None:
        super().__init__(
            pairs, model, vocabulary, length, 1.0 if temperature is None else temperature, trigrams, drop, same_tower
        )
        if temperature is None:
            self.temperature = 3.2 / self.bits
        require_number("task.sharpness", sharpness, least=1e-3, below=1e3)
        require_draws(estimator, "bernoulli", learners=False)
        self.estimator = estimator
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))

    @property
    def bits(self) -> int:
        """V."""
        return int(self.model.document_tower.projection.out_features)

    @property
    def title(self) -> str:
        """How many bits, the loss, and data."""
        kind = "with" if self.same_tower else "without"
        return f"{self.bits} bits {kind} same-tower negatives, {type(self.estimator).__name__}, on {self.pairs.name}"

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All that is not frozen, in one."""
        return {"optimizer": [*super().groups()["optimizer"], self.log_sharpness]}

    def forward(self, batch: Texts, generator: torch.Generator) -> Step:
        """The surrogate of the codes, and the loss of the queries at the first of them."""
        queries, documents = self.model(*self._dropped(batch, generator))
        equal = equal_texts(batch.queries.text, batch.documents.text, self.world)
        logits = self.log_sharpness.exp() * documents.shape[1] ** 0.5 * documents
        draw = self.estimator.sample(logits, generator)
        codes = code(draw.points)
        values = own_terms(queries.detach(), codes, equal, self.temperature, self.world, self.same_tower)
        first = codes[0].detach()
        loss = in_batch_softmax(queries, first, equal, self.temperature, self.world, self.same_tower).mean()
        surrogate = self.estimator.surrogate(draw, values).mean()
        return Step(surrogate - surrogate.detach() + loss, {"train_loss": loss.detach()})

    def towers(self) -> tuple[nn.Module, nn.Module]:
        """That of queries, and that of documents' most likely codes."""
        return self.model.query_tower, Coder(self.model.document_tower)

    def figures(self, queries: Tensor, documents: Tensor) -> dict[str, float]:
        """What else is judged of held-out queries `[n, V]` and codes `[N, V]`."""
        return super().figures(queries, documents) | use_of_bits(documents)

    def noted(self) -> dict[str, float | None]:
        """The sharpness."""
        return {"sharpness": float(self.log_sharpness.detach().exp())}

    def export(self, folder: Path) -> str:
        """Refuse: a model of sentence-transformers has no codes.

        Raises:
            UserError: always.
        """
        raise UserError(f"{folder} would hold embeddings, and this run has learned binary codes; export another run.")


class Coder(nn.Module):
    """A tower's most likely codes."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, tokens: Tokens) -> Tensor:
        """Codes `[N, V]` of length 1."""
        return code((self.tower(tokens) > 0).float())


def code(bits: Tensor) -> Tensor:
    """Unit vectors `[..., V]` of bits."""
    return (2 * bits - 1) / bits.shape[-1] ** 0.5


def own_terms(
    queries: Tensor, codes: Tensor, equal: Tensor, temperature: float, world: World = ALONE, same_tower: bool = False
) -> Tensor:
    """What of the loss depends on each document's own code, while the others keep their first: `[S, B]`.

    The mean over documents has the loss's gradient in the codes; see docs/guide/shared_values.md. A code is in the
    softmax of every query; in that of its own document; and, with same-tower negatives, in those of other documents.

    Args:
        queries: of this process, `[B, D]`, without a graph.
        codes: at the S points, `[S, B, D]`.
        equal, temperature, world, same_tower: see `in_batch_softmax`.
    """
    own = slice(world.rank * len(queries), (world.rank + 1) * len(queries))
    queries, equal = world.gather(queries), world.gather(equal.long()).bool()
    codes = world.gather(codes.transpose(0, 1).contiguous()).transpose(0, 1)
    others, count = codes[0].detach(), len(queries)
    left_out = equal | torch.eye(count, dtype=torch.bool, device=equal.device)
    numbers = torch.arange(count, device=equal.device)

    asked = queries @ codes.mT / temperature  # [S, M, M], a row for every query
    answered = asked.mT
    if same_tower:
        beside = (queries @ queries.T / temperature).expand_as(asked)
        among = codes @ others.T / temperature  # a row for every code
        from_queries = _values(torch.cat((asked, beside), 2), torch.cat((equal, left_out), 1), numbers)
        rows = torch.cat((among.mT, answered[:1].detach().expand_as(asked)), 2)  # a row for every other's first code
        from_others = _values(rows, torch.cat((left_out, equal), 1), numbers + count)
        alone = torch.cat((answered.masked_fill(equal, -torch.inf), among.masked_fill(left_out, -torch.inf)), 2)
    else:
        from_queries, from_others = _values(asked, equal, numbers), torch.zeros_like(asked[:, 0])
        alone = answered.masked_fill(equal, -torch.inf)
    from_itself = alone.logsumexp(2) - answered.diagonal(dim1=1, dim2=2)
    return ((from_queries + from_others + from_itself) / 2)[:, own]


def use_of_bits(codes: Tensor) -> dict[str, float]:
    """How much of their bits codes `[N, V]` use.

    Returns:
        bit_entropy: the mean over bits of the entropy of how often they are on, 1 where that is half of the codes.
        code_entropy: the entropy of how often whole codes are there, at most V and log2 N bits.
        collisions: the share of codes that some other document has too.
    """
    bits = codes > 0
    on = bits.double().mean(0)
    entropy = -(torch.xlogy(on, on) + torch.xlogy(1 - on, 1 - on)) / math.log(2)
    counts = bits.unique(dim=0, return_counts=True)[1]
    shares = counts.double() / len(codes)
    return {
        "bit_entropy": float(entropy.mean()),
        "code_entropy": float(-(shares * shares.log2()).sum()),
        "collisions": float(shares[counts > 1].sum()),
    }


def _values(scores: Tensor, left_out: Tensor, targets: Tensor) -> Tensor:
    """Each document's terms of the softmaxes of all rows, summed: `[S, M]` of `[S, M, M or more]`."""
    return scores.shape[1] * dg.objectives.contrastive(scores, targets, mask=~left_out).values[:, : scores.shape[1]]
