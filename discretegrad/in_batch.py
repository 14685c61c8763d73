"""A contrastive loss over a batch of discrete codes, told apart into what each document's code is responsible for."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from discretegrad import checks


class Contrastive(NamedTuple):
    """What `contrastive` returns."""

    values: Tensor
    """`[S, N]`, each document's own terms at its points: what the estimator's surrogate takes."""
    loss: Tensor
    """A scalar without a graph: the loss at the context, for the record. In nats a query."""


def contrastive(
    scores: Tensor, targets: Tensor | None = None, context: Tensor | None = None, mask: Tensor | None = None
) -> Contrastive:
    """The softmax of each query over the documents of a batch, whose codes are sampled: every document's own terms.

        loss = mean_i (logsumexp_j s_ij - sum_j t_ij s_ij)

    All queries' terms see all documents' codes. To give every document the whole loss as its value is unbiased, but
    the noise of all the others' codes drowns its own: some N times the variance. Here document j gets what depends on
    its own code while the others stay where a context has them,

        value_j = mean_i (log(1 + exp(s_ij) / R_ij) - t_ij s_ij),    R_ij = sum of exp(s_ik) over the others k,

    at the context's scores s_ik. Given the context that differs from the loss by a constant, and the context is a draw
    of its own for document j, since codes of different documents are independent: so the gradient of the mean of the
    loss w.r.t. the documents' logits stays unbiased. The sum over documents of the surrogates of these values has the
    right gradient for all else that made the scores as well (query encoder, codebooks): no other loss is needed.

    Args:
        scores: `[S, Q, N]`, of every query with every document, at the S points of the documents' draw; divided by the
            temperature.
        targets: int64 `[Q]`, the number of each query's document; or `[Q, N]`, the probabilities t that the softmax is
            to have. None: query i belongs to document i.
        context: `[K, Q, N]`, scores at K other draws of all documents' codes: values are means over these. None: the
            first points of `scores`; not for estimators whose points are no draws from the logits (`Exact`,
            `SumAndSample`, `UnorderedSet`), which need a context of their own, as of `Reinforce`.
        mask: bool `[Q, N]`, False where a document does not count for a query, such as one that is as good an answer.

    Raises:
        TypeError, ValueError: for shapes, targets or a mask that cannot be meant.

    Reference: the softmax of Henderson et al. 2017, arXiv 1705.00652, and van den Oord et al. 2018, arXiv 1807.03748;
    the separation is ours. See docs/guide/shared_values.md.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits, queries = torch.zeros(5, 8, 16, requires_grad=True), torch.randn(5, 32)
        >>> codebooks = dg.nn.OneHotLinear(variables=8, categories=16, out_features=32)
        >>> estimator = dg.RLOO(4)
        >>> draw = estimator.sample(logits)                                   # codes of 5 documents
        >>> scores = queries @ codebooks(draw.indices).mT                     # [4, 5, 5]
        >>> found = dg.objectives.contrastive(scores)
        >>> estimator.surrogate(draw, found.values).sum().backward()
    """
    checks.in_batch(scores, targets, context, mask)
    number, documents = scores.shape[1:]
    if targets is None:
        targets = torch.arange(number, device=scores.device)
    if not targets.is_floating_point():
        targets = F.one_hot(targets, documents).to(scores.dtype)
    targets = targets.detach()
    others = (scores[:1] if context is None else context).detach()
    if mask is not None:
        scores, others = scores.masked_fill(~mask, -torch.inf), others.masked_fill(~mask, -torch.inf)
    chosen = torch.where(targets > 0, scores, 0.0)  # what the mask has put off has no target
    at_context = torch.where(targets > 0, others, 0.0)
    loss = (others.logsumexp(-1) - (targets * at_context).sum(-1)).mean()
    shares = torch.stack([_share(scores, _others(one)) for one in others]).mean(0)
    return Contrastive((shares - targets * chosen).mean(1), loss)


def _others(scores: Tensor) -> Tensor:
    """`logsumexp` over all other documents, `[Q, N]`: sums from either side, so that nothing is subtracted."""
    alone = scores.new_full((len(scores), 1), -torch.inf)
    before = torch.cat((alone, scores.logcumsumexp(-1)[:, :-1]), -1)
    after = torch.cat((alone, scores.flip(-1).logcumsumexp(-1)[:, :-1]), -1).flip(-1)
    return torch.logaddexp(before, after)


def _share(scores: Tensor, others: Tensor) -> Tensor:
    """`log(1 + exp(s) / R)`, `[S, Q, N]`; s itself where there are no others, and 0 where s does not count."""
    alone, out = others == -torch.inf, scores == -torch.inf
    difference = torch.where(out, 0.0, scores) - torch.where(alone, 0.0, others)
    return torch.where(out, 0.0, torch.where(alone, difference, F.softplus(difference)))
