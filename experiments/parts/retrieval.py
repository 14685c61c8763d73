"""How well queries find their documents, by exact search."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from experiments.engine import World

CHUNK = 256
"""Queries whose scores are held at a time."""
TIE = 1e-12
"""Scores that differ by less count as equal; it is far below the rounding of float32 near 1."""


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
    reciprocal, first = 0.0, 0.0
    for start in range(share.start, share.stop, CHUNK):
        part = slice(start, min(start + CHUNK, share.stop))
        wanted = relevant(part)
        scores = (queries[part] @ documents.T).double() - TIE * wanted
        for row, found in zip(scores, wanted, strict=True):
            reciprocal += float(retrieval_reciprocal_rank(row, found))
            first += float(retrieval_precision(row, found, top_k=1))
    count = share.stop - share.start
    return {"mrr": world.mean(reciprocal, count), "p_at_1": world.mean(first, count)}
