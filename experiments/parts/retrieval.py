"""How well queries find their documents, by exact search."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from experiments.engine import World

CHUNK = 256
"""Queries whose scores are held at a time."""


@torch.no_grad()
def retrieval(
    queries: Tensor, documents: Tensor, relevant: Callable[[slice], Tensor], world: World
) -> dict[str, float]:
    """Mean reciprocal rank of the first relevant document, and the share of queries at whose first place one is.

    Where scores are equal, the documents that are not relevant come first: a model that gives all the same has the
    worst figures, not those of the documents' order.

    Args:
        queries: `[Q, D]`, the same in all processes, of which each takes its `world.share`.
        documents: all of them, `[N, D]`.
        relevant: of a slice of the queries, which documents are: bool `[n, N]`, one in each row at least.
        world: the processes.

    Returns:
        `mrr` and `p_at_1`, the same in all processes.
    """
    from torchmetrics.functional.retrieval import retrieval_precision, retrieval_reciprocal_rank

    share = world.share(len(queries))
    # By places instead of scores: of documents with scores of 0 or less, torchmetrics takes none for relevant.
    places = torch.arange(len(documents), 0, -1, dtype=torch.float32, device=documents.device)
    reciprocal, first = 0.0, 0.0
    for start in range(share.start, share.stop, CHUNK):
        part = slice(start, min(start + CHUNK, share.stop))
        for found in ranked(queries[part] @ documents.T, relevant(part)):
            reciprocal += float(retrieval_reciprocal_rank(places, found))
            first += float(retrieval_precision(places, found, top_k=1))
    count = share.stop - share.start
    return {"mrr": world.mean(reciprocal, count), "p_at_1": world.mean(first, count)}


def ranked(scores: Tensor, relevant: Tensor) -> Tensor:
    """Which documents are relevant, `[n, N]`, best score first; of equal ones, those that are not come first."""
    last = relevant.long().argsort(dim=1, stable=True)
    order = scores.gather(1, last).argsort(dim=1, descending=True, stable=True)
    return relevant.gather(1, last).gather(1, order)
