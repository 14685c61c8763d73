"""Hard negatives: near a query without answering it, and least likely to be an answer that nobody has marked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.data.pairs import Pairs
from experiments.engine import World
from experiments.errors import UserError
from experiments.parts.retrieval import CHUNK, Judged
from experiments.parts.text import Tokens
from experiments.parts.towers import embed

RANKS = 60
"""Added to every rank before fusion, as in Cormack, Clarke, Buettcher 2009."""


def mine(
    tower: nn.Module, texts: tuple[Tokens, Tokens], pairs: Pairs, neighbours: int, keep: str, world: World
) -> Tensor:
    """For every training query a row whose document is a hard negative of it: int64, by the queries' numbers.

    Args:
        tower: that finds neighbours.
        texts: of the pairs to train on, queries and documents.
        pairs: the same.
        neighbours, keep: see `mined`.
        world: the processes.
    """
    first = [first_rows(column.text) for column in texts]
    asked, answers = (column.take(rows) for column, rows in zip(texts, first, strict=True))
    vectors = embed(tower, asked, world), embed(tower, answers, world)
    return first[1][mined(*vectors, answers, Judged.of(pairs.train, ()), neighbours, keep)]


@torch.no_grad()
def mined(queries: Tensor, documents: Tensor, tokens: Tokens, judged: Judged, neighbours: int, keep: str) -> Tensor:
    """A hard negative for every query.

    Of the documents that do not answer a query, its nearest ones are compared with its first answer in two ways: the
    cosine of the embeddings, and the share of tokens that they have in common. Both rankings are fused, and the
    neighbour that is least like the answer is kept. The paper asks a language model for both judgements.

    Args:
        queries: embeddings `[Q, D]` of `judged.queries`.
        documents: embeddings `[N, D]` of `judged.documents`.
        tokens: of the documents.
        judged: which documents answer which queries.
        neighbours: how many are compared, at most.
        keep: "lowest": that which is least like the answer; "nearest": the nearest, without a comparison.

    Returns:
        int64 `[Q]`, places of documents.

    Raises:
        UserError: where all documents answer some query.
    """
    pairs, found = judged.pairs.to(queries.device), []
    answers = pairs[first_rows(pairs[:, 0]), 1]
    for start in range(0, len(queries), CHUNK):
        part = torch.arange(start, min(start + CHUNK, len(queries)), device=queries.device)
        wrong = judged.relevant(part) == 0
        if not bool(wrong.any(1).all()):
            raise UserError("some query is answered by all documents, and has no hard negative; leave task.miner out.")
        scores = (queries[part] @ documents.T).masked_fill(~wrong, -torch.inf)
        nearest, places = scores.topk(min(neighbours, len(documents)))
        if keep == "lowest":
            own = answers[part]
            alike = (documents[places] * documents[own].unsqueeze(1)).sum(2)
            likeness = fused(alike, shared_tokens(tokens, places, own)).masked_fill(nearest == -torch.inf, torch.inf)
            first = likeness.sort(dim=1, stable=True).indices[:, :1]  # of equally likely ones the nearest
            found.append(places.gather(1, first).squeeze(1))
        else:
            found.append(places[:, 0])
    return torch.cat(found)


def first_rows(numbers: Tensor) -> Tensor:
    """The first row that has each of the numbers 0, 1, ..., all of which there are."""
    rows = torch.arange(len(numbers), device=numbers.device)
    return rows.new_full((int(numbers.max()) + 1,), len(rows)).scatter_reduce(0, numbers, rows, "amin")


def fused(*scores: Tensor) -> Tensor:
    """Reciprocal rank fusion: the sum over judgements `[n, k]` of 1 over the rank in each row; `[n, k]`."""
    return torch.stack([1 / (RANKS + _ranks(each)) for each in scores]).sum(0)


def shared_tokens(tokens: Tokens, places: Tensor, own: Tensor) -> Tensor:
    """The share of a document's tokens that are also in another: `[n, k]` of places `[n, k]` for documents `[n]`."""
    mask = tokens.mask
    theirs, ours = tokens.ids[places], tokens.ids[own].masked_fill(~mask[own], -1)
    common = (theirs.unsqueeze(3) == ours[:, None, None]).any(3) & mask[places]
    return common.sum(2) / tokens.lengths[places]


def _ranks(scores: Tensor) -> Tensor:
    """From 1 for the highest; of equal ones the first comes first."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    return 1 + order.argsort(dim=1).double()
