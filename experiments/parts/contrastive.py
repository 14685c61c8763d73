"""Losses that tell what belongs together from the rest of the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.engine import World
from experiments.errors import UserError, require_number

ALONE = World()


def require_temperature(temperature: object) -> None:
    """Refuse what cosines cannot be divided by.

    Raises:
        UserError: that names the setting.
    """
    require_number("task.temperature", temperature, least=0, below=float("inf"))
    if not temperature:
        raise UserError("task.temperature must be above 0, for scores are divided by it.")


def in_batch_softmax(
    queries: Tensor,
    documents: Tensor,
    equal: Tensor,
    temperature: float,
    world: World = ALONE,
    same_tower: bool = False,
) -> Tensor:
    """Cross-entropy of every query's own document among all of the batch, and of every document's own query; the mean.

    The batch is that of all processes, and gradients reach all of them.

    Args:
        queries, documents: of this process, `[B, D]`, row by row of one pair; of length 1 for cosines.
        equal: `[B, size * B]`, from `equal_texts`: which pairs of the batch are no negatives of which.
        temperature: the scores' divisor.
        world: the processes.
        same_tower: whether a query's softmax also runs over the other queries, and a document's over the other
            documents, as negatives: SamToNe, by Moiseev, Hernandez Abrego, Dornbach, Zitouni, Alfonseca, Dong 2023
            (arXiv 2306.02516).

    Returns:
        The losses of this process's pairs, `[B]`, in nats. The authors of Dual Encoders (arXiv 2204.07120) and of
        SamToNe add the two directions where this takes their mean.
    """
    own, columns = _own(queries, world), (world.gather(queries), world.gather(documents))
    left_out = equal.scatter(1, own.unsqueeze(1), True)

    def loss(rows: Tensor, others: Tensor, same: Tensor) -> Tensor:
        scores = (rows @ others.T / temperature).masked_fill(equal, -torch.inf)
        if same_tower:
            scores = torch.cat((scores, (rows @ same.T / temperature).masked_fill(left_out, -torch.inf)), 1)
        return F.cross_entropy(scores, own, reduction="none")

    return (loss(queries, columns[1], columns[0]) + loss(documents, *columns)) / 2


def query_softmax(
    queries: Tensor,
    documents: Tensor,
    equal: Tensor,
    temperature: float,
    negatives: Tensor | None = None,
    world: World = ALONE,
) -> Tensor:
    """Cross-entropy of every query's own document among the documents of the batch, and a hard negative of its own.

    As Gemini Embedding has it (arXiv 2503.07891): one direction, no same-tower negatives, and a hard negative stands in
    the softmax of its own query alone.

    Args:
        queries, documents: of this process, `[B, D]`, row by row of one pair; of length 1 for cosines.
        equal: `[B, size * B]`, from `equal_texts`: which pairs of the batch are no negatives of which.
        temperature: the scores' divisor.
        negatives: a document `[B, D]` for each query that does not answer it; None: none.
        world: the processes, whose documents are all negatives.

    Returns:
        The losses of this process's queries, `[B]`, in nats.
    """
    scores = (queries @ world.gather(documents).T / temperature).masked_fill(equal, -torch.inf)
    if negatives is not None:
        scores = torch.cat((scores, (queries * negatives).sum(1, keepdim=True) / temperature), 1)
    return F.cross_entropy(scores, _own(queries, world), reduction="none")


def equal_texts(queries: Tensor, documents: Tensor, world: World = ALONE) -> Tensor:
    """Which other pair of the batch has the same query or the same document, and so would be a false negative.

    Args:
        queries, documents: the texts' numbers, `[B]`: `Tokens.text`.
        world: the processes.

    Returns:
        bool `[B, size * B]`: this process's pairs against those of all. No pair is equal to itself.
    """
    equal = related(queries, documents, world.gather(queries), world.gather(documents))
    return equal.scatter(1, _own(queries, world).unsqueeze(1), False)


def related(queries: Tensor, documents: Tensor, other_queries: Tensor, other_documents: Tensor) -> Tensor:
    """Which pairs `[N]` have a text in common with which others `[M]`, by the texts' numbers: bool `[N, M]`."""
    return (queries.unsqueeze(1) == other_queries) | (documents.unsqueeze(1) == other_documents)


def _own(rows: Tensor, world: World) -> Tensor:
    """The positions of this process's rows among those of all."""
    return torch.arange(len(rows), device=rows.device) + world.rank * len(rows)
