"""What the codes of a batch of documents are worth, told apart by document."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import discretegrad as dg
from experiments.parts.codes import Codes

OBJECTIVES = ("distil", "labels", "rank")


class Question(NamedTuple):
    """What a batch of N documents is asked."""

    asked: Tensor
    """`[Q, W]`, of length 1."""
    targets: Tensor
    """`[Q, N]`, the probabilities that the softmax over documents is to have; or int64 `[Q]`, numbers of documents."""
    mask: Tensor | None
    """bool `[Q, N]`, False where another document answers the query as well; None: nowhere."""

    def take(self, rows: Tensor) -> Question:
        """Some of the queries."""
        mask = None if self.mask is None else self.mask[rows]
        return Question(self.asked[rows], self.targets[rows], mask)


def question(
    codes: Codes, queries: Tensor, documents: Tensor, same: Tensor, objective: str, sharpness: float
) -> Question:
    """The batch's.

    Args:
        codes: whose projection queries go through.
        queries, documents: as they are embedded, `[N, D]`, row by row of one pair.
        same: int64 `[N]`, equal for equal queries.
        objective: distil, the softmax over the embeddings themselves, of which both queries and documents ask; else
            every query asks for its own document.
        sharpness: of that softmax, the cosines' factor.
    """
    if objective == "distil":
        asked = torch.cat((queries, documents))
        targets = (sharpness * asked @ documents.T).softmax(-1)
        return Question(F.normalize(codes.project(asked), dim=-1), targets, None)
    own = torch.arange(len(queries), device=queries.device)
    mask = (same.unsqueeze(1) != same) | (own.unsqueeze(1) == own)
    return Question(F.normalize(codes.project(queries), dim=-1), own, mask)


def cosines(asked: Tensor, decoded: Tensor) -> Tensor:
    """Of queries of length 1 `[Q, W]` with `[*, N, W]`: `[*, Q, N]`."""
    return asked @ F.normalize(decoded, dim=-1).mT


def reciprocal_ranks(scores: Tensor, answers: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
    """Each document's own terms of minus the mean reciprocal rank: what its code changes while the others stay.

    A query's rank is one more than the number of documents with a larger score than its answer. As in
    `discretegrad.objectives.contrastive`, given the context this is the batch's objective up to a constant.

    Args:
        scores: `[S, Q, N]`, at the points of each document.
        answers: int64 `[Q]`.
        context: `[Q, N]`, scores at a draw of all documents' codes, as `scores[0]`.
        mask: see `Question`.

    Returns:
        `[S, N]`, without a graph: ranks have none.
    """
    scores, context = scores.detach(), context.detach()
    if mask is not None:
        scores, context = scores.masked_fill(~mask, -torch.inf), context.masked_fill(~mask, -torch.inf)
    rows = torch.arange(len(answers), device=answers.device)
    best = context[rows, answers].unsqueeze(1)
    above = context > best
    before = 1 + above.sum(1, keepdim=True) - above.long()  # the rank without each document
    others = 1 / (before + (scores > best).long()) - 1 / before
    ahead = context.unsqueeze(0) > scores[:, rows, answers].unsqueeze(-1)
    ahead[:, rows, answers] = False
    own = 1 / (1 + ahead.sum(-1)).to(scores.dtype)
    return -others.to(scores.dtype).index_put((torch.arange(len(scores)).unsqueeze(1), rows, answers), own).mean(1)


def alternatives(codes: Codes, ids: Tensor, asked: Tensor) -> Tensor:
    """The cosines of every code that differs in at most one variable: what search does by tables, without a decode.

    Args:
        codes: a product or additive code.
        ids: int64 `[N, V]`.
        asked: `[Q, W]`, of length 1.

    Returns:
        `[V, C, Q, N]`: those of document n where its variable v is c.
    """
    table = codes.table  # [V, C, W]
    variables = torch.arange(codes.variables, device=ids.device)
    without = codes.decode(ids).unsqueeze(1) - table[variables, ids]  # [N, V, W]
    gains = torch.einsum("qw,vcw->qvc", asked, table)
    at_rest = asked @ codes.decode(ids).T  # [Q, N]
    own = gains[:, variables, ids]  # [Q, N, V]
    inner = (at_rest.unsqueeze(-1) - own).unsqueeze(-1) + gains.unsqueeze(1)  # [Q, N, V, C]
    lengths = without.square().sum(-1, keepdim=True) + 2 * torch.einsum("nvw,vcw->nvc", without, table)
    lengths = (lengths + table.square().sum(-1)).clamp_min(1e-24).sqrt()
    return (inner / lengths).permute(2, 3, 0, 1)


def local_expectation(
    codes: Codes, ids: Tensor, logits: Tensor, asked: Question, sharpness: float, rows: Tensor | None = None
) -> Tensor:
    """Local expectations of all variables of all documents (Titsias, Lazaro-Gredilla 2015), by tables.

    Args:
        codes: a product or additive code.
        ids: int64 `[N, V]`, a draw.
        logits: that it was drawn from, `[N, V, C]`.
        asked: of the batch.
        sharpness: the cosines' factor.
        rows: of the queries that are asked, drawn uniformly; None: all.

    Returns:
        A scalar whose gradient w.r.t. the logits is the estimate; its value means nothing.
    """
    asked = asked if rows is None else asked.take(rows)
    with torch.no_grad():
        scores = sharpness * alternatives(codes, ids, asked.asked).flatten(0, 1)
        context = sharpness * cosines(asked.asked, codes.decode(ids))
        values = dg.objectives.contrastive(scores, asked.targets, context.unsqueeze(0), asked.mask).values
        values = values.unflatten(0, (codes.variables, codes.categories)).permute(2, 0, 1)  # [N, V, C]
    return (logits.softmax(-1) * (values - values.mean(-1, keepdim=True))).sum()
