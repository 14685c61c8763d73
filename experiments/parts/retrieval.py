"""How well queries find their documents, by exact search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.pairs import Pair
from experiments.engine import World

CHUNK = 256
"""Queries whose scores are held at a time, or fewer,"""
SCORES = 2**26
"""where they have more scores than this."""
MEASURES = {
    "mrr": "mean reciprocal rank",
    "p_at_1": "share of queries",
    "ndcg_at_10": "of the best order's",
}


class Judged(NamedTuple):
    """Which documents answer which queries, each text once."""

    queries: list[str]
    documents: list[str]
    pairs: Tensor
    """int64 `[P, 2]`, places in the two lists."""
    grades: Tensor
    """int64 `[P]`, 1 or more."""

    @classmethod
    def of(cls, pairs: Sequence[Pair], others: Sequence[str]) -> Judged:
        """Of pairs, and other documents to be searched."""
        queries = {query: place for place, query in enumerate(dict.fromkeys(pair.query for pair in pairs))}
        found = dict.fromkeys((*(pair.document for pair in pairs), *others))
        documents = {document: place for place, document in enumerate(found)}
        places = {(queries[pair.query], documents[pair.document]): pair.grade for pair in pairs}
        return cls([*queries], [*documents], torch.tensor([*places]), torch.tensor([*places.values()]))

    def relevant(self, queries: Tensor) -> Tensor:
        """The grades of all documents for some queries `[n]`, by their places: int64 `[n, N]`, 0 for no answer."""
        rows = torch.full((len(self.queries),), -1, device=queries.device)
        rows[queries] = torch.arange(len(queries), device=queries.device)
        own, (asked, found) = self.grades.to(queries.device), self.pairs.to(queries.device).T
        here = rows[asked] >= 0
        grades = torch.zeros(len(queries), len(self.documents), dtype=torch.int64, device=queries.device)
        grades[rows[asked[here]], found[here]] = own[here]
        return grades


@torch.no_grad()
def retrieval(
    queries: Tensor, documents: Tensor, relevant: Callable[[slice], Tensor], world: World
) -> dict[str, float]:
    """Mean reciprocal rank of the first answer, the share of queries that have one at the first place, and NDCG at 10.

    Where scores are equal, the documents that are not relevant come first: a model that gives all the same has the
    worst figures, not those of the documents' order.

    Args:
        queries: `[Q, D]`, the same in all processes, of which each takes its `world.share`.
        documents: all of them, `[N, D]`.
        relevant: of a slice of the queries, the documents' grades: int or bool `[n, N]`, one above 0 in each row at
            least.
        world: the processes.

    Returns:
        `MEASURES`, the same in all processes.
    """
    from torchmetrics.functional import retrieval as measures

    share = world.share(len(queries))
    # By places instead of scores: of documents with scores of 0 or less, torchmetrics takes none for relevant.
    places = torch.arange(len(documents), 0, -1, dtype=torch.float32, device=documents.device)
    totals = dict.fromkeys(MEASURES, 0.0)
    for grades in orders(queries, documents, relevant, share):
        totals["mrr"] += float(measures.retrieval_reciprocal_rank(places, grades > 0))
        totals["p_at_1"] += float(measures.retrieval_precision(places, grades > 0, top_k=1))
        totals["ndcg_at_10"] += float(measures.retrieval_normalized_dcg(places, grades, top_k=10))
    return {name: world.mean(total, share.stop - share.start) for name, total in totals.items()}


def spread(count: int, most: int | None, device: torch.device) -> Tensor:
    """The numbers of at most `most` of `count` queries, spread over all of them; None: all."""
    every = 1 if most is None else max(1, count // most)
    return torch.arange(count, device=device)[: None if most is None else most * every : every]


@torch.no_grad()
def first_answers(
    queries: Tensor, documents: Tensor, relevant: Callable[[slice], Tensor], world: World, most: int = 10
) -> dict[str, float]:
    """The mean reciprocal rank of the first answer, and the share of queries with one among the first `most`.

    Args:
        queries, documents, relevant, world: see `retrieval`; nothing is sorted, so that this takes less time.
        most: places.

    Returns:
        `mrr` and `recall`, the same in all processes.
    """
    share = world.share(len(queries))
    found = places(queries, documents, relevant, share).double()
    totals = {"mrr": (1 / found).sum(), "recall": (found <= most).sum()}
    return {name: world.mean(total, len(found)) for name, total in totals.items()}


def places(queries: Tensor, documents: Tensor, relevant: Callable[[slice], Tensor], share: slice) -> Tensor:
    """For each query of a share the place of its first answer, from 1 on; of equal scores wrong ones come first."""
    most = max(1, min(CHUNK, SCORES // len(documents)))
    found = [torch.zeros(0, dtype=torch.int64, device=queries.device)]
    for start in range(share.start, share.stop, most):
        part = slice(start, min(start + most, share.stop))
        scores, answers = queries[part] @ documents.T, relevant(part) > 0
        best = scores.masked_fill(~answers, -torch.inf).amax(1, keepdim=True)
        found.append(1 + ((scores >= best) & ~answers).sum(1))
    return torch.cat(found)


def orders(queries: Tensor, documents: Tensor, relevant: Callable[[slice], Tensor], share: slice) -> Iterator[Tensor]:
    """For each query of a share the grades of all documents `[N]`, best score first; see `retrieval`."""
    most = max(1, min(CHUNK, SCORES // len(documents)))
    for start in range(share.start, share.stop, most):
        part = slice(start, min(start + most, share.stop))
        yield from ranked(queries[part] @ documents.T, relevant(part).long())


def ranked(scores: Tensor, relevant: Tensor) -> Tensor:
    """The documents' grades, `[n, N]`, best score first; of equal scores, low grades come first."""
    last = relevant.argsort(dim=1, stable=True)
    order = scores.gather(1, last).argsort(dim=1, descending=True, stable=True)
    return relevant.gather(1, last).gather(1, order)
