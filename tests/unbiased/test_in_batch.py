"""The contrastive loss of a batch of codes, told apart by document: by enumeration, in float64."""

import itertools

import pytest
import torch
from outcomes import draws

import discretegrad as dg
from discretegrad.objectives import contrastive

N, C, D = 3, 3, 4
CATEGORICAL = dg.latent.LATENTS["categorical"]
MASK = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1]]).bool()
PROBABILITIES = torch.tensor([[0.7, 0.1, 0.2], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]], dtype=torch.float64)


class Search:
    """Queries and additive codes of documents, of V variables each."""

    def __init__(self, variables=1, targets=None, mask=None):
        self.logits = torch.randn(N, variables, C, dtype=torch.float64, requires_grad=True)
        self.queries = torch.randn(N, D, dtype=torch.float64, requires_grad=True)
        self.codebooks = torch.randn(variables, C, D, dtype=torch.float64, requires_grad=True)
        self.variables, self.targets, self.mask = torch.arange(variables), targets, mask
        self.parameters = (self.logits, self.queries, self.codebooks)

    def scores(self, ids):
        """`[..., queries, N]` of codes `[..., N, V]`."""
        return self.queries @ self.codebooks[self.variables, ids].sum(-2).mT

    def loss(self, scores):
        """`[...]`, as it is written down."""
        targets = torch.arange(len(scores[0])) if self.targets is None else self.targets
        if not targets.is_floating_point():
            targets = torch.nn.functional.one_hot(targets, N).double()
        counted = scores if self.mask is None else scores.masked_fill(~self.mask, -torch.inf)
        return (counted.logsumexp(-1) - (targets * scores).sum(-1)).mean(-1)

    def truth(self):
        """The gradients of the mean over all codes of the batch."""
        ids = torch.tensor(list(itertools.product(range(C), repeat=N * len(self.variables))))
        ids = ids.reshape(-1, N, len(self.variables))
        log_probs = self.logits.log_softmax(-1)[torch.arange(N)[:, None], self.variables, ids].sum((-1, -2))
        return torch.autograd.grad((log_probs.exp() * self.loss(self.scores(ids))).sum(), self.parameters)


@pytest.mark.parametrize(
    ("estimator", "targets", "mask"),
    [
        (dg.RLOO(), None, None),
        (dg.RLOO(), torch.tensor([2, 1, 2]), None),
        (dg.DisARMTree(), PROBABILITIES, None),
        (dg.DisARMSB(), None, MASK),
        (dg.DisARMTree(tree="huffman"), PROBABILITIES, MASK | (PROBABILITIES > 0)),
        (dg.Flow(), torch.tensor([1, 1, 2]), MASK),
    ],
    ids=["RLOO", "RLOO-numbers", "DisARMTree-probabilities", "DisARMSB-mask", "DisARMTree-both", "Flow-both"],
)
def test_one_surrogate_has_the_gradient_of_the_mean_loss_in_everything(estimator, targets, mask):
    """Of the documents' logits, the queries and the codebooks, over all draws of all documents."""
    search = Search(targets=targets, mask=mask)
    expected, mean, loss = search.truth(), 0.0, 0.0
    for ids, probability in draws(estimator, search.logits):
        draw = estimator.complete(dg.draw.given(search.logits, ids, CATEGORICAL))
        scores = search.scores(draw.indices)
        found = contrastive(scores, targets, mask=mask)
        assert found.values.shape == (2, N) and not found.loss.requires_grad
        torch.testing.assert_close(found.loss, search.loss(scores)[0], rtol=1e-12, atol=1e-14)
        mean = mean + probability * estimator.surrogate(draw, found.values).sum()
        loss += probability
    assert loss == pytest.approx(1.0, rel=1e-12)
    for got, want in zip(torch.autograd.grad(mean, search.parameters), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "estimator",
    [dg.Exact(), dg.LocalExpectation(), pytest.param(dg.SumAndSample(k=2), marks=pytest.mark.slow)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_with_a_context_of_its_own_any_points_will_do(estimator):
    """All 729 codes of three documents with two variables: the oracle's mean over a document's own, in all contexts."""
    search = Search(variables=2)
    codes = torch.tensor(list(itertools.product(range(C), repeat=2)))
    probs, expected = search.logits.detach().softmax(-1), search.truth()[0]
    for document in range(N):
        rest = torch.tensor([other for other in range(N) if other != document])
        total = torch.zeros_like(expected[document])
        for choice in itertools.product(range(len(codes)), repeat=N - 1):
            around = torch.zeros(N, 2, dtype=torch.int64)
            around[rest] = codes[list(choice)]

            def own(points, document=document, around=around):
                ids = around.expand(len(points), N, 2).clone()
                ids[:, document] = points.argmax(-1)
                return contrastive(search.scores(ids), context=search.scores(around.unsqueeze(0))).values[:, document]

            probability = probs[rest[:, None], search.variables, around[rest]].prod()
            total += probability * dg.exact.moments(estimator, own, search.logits[document].detach()).mean.detach()
        torch.testing.assert_close(total, expected[document], rtol=1e-9, atol=1e-12)


def test_values_are_what_the_loss_has_of_a_document_s_code():
    """Two codes of one document: the values differ by as much as the loss does; means over contexts are means."""
    scores, context = torch.randn(5, 4, 6, dtype=torch.float64), torch.randn(3, 4, 6, dtype=torch.float64)
    values = contrastive(scores, context=context).values
    for document in range(6):
        losses = []
        for one in context:
            mixed = one.expand(5, 4, 6).clone()
            mixed[..., document] = scores[..., document]
            losses.append((mixed.logsumexp(-1) - mixed.diagonal(dim1=1, dim2=2)).mean(-1))
        losses = torch.stack(losses).mean(0)
        own = values[:, document]
        torch.testing.assert_close(own - own[0], losses - losses[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_of_any_size_are_finite(dtype):
    """Where one document has all of the softmax, also the only one that counts, nothing is subtracted from it."""
    scores = torch.tensor([[[3000.0, 0.0, -3000.0], [1.0, 1e-3, 2.0]]], dtype=dtype).repeat(2, 1, 1).requires_grad_()
    mask = torch.tensor([[1, 1, 1], [0, 1, 0]]).bool()
    found = contrastive(scores, mask=mask)
    (gradient,) = torch.autograd.grad(found.values.sum(), scores)
    assert found.values.isfinite().all() and gradient.isfinite().all() and found.loss.isfinite()
    assert (gradient[:, 1] == 0).all()  # a query that has one document only teaches nothing


def test_the_whole_loss_as_everyone_s_value_is_unbiased_and_a_hundred_times_noisier():
    """What the page on shared values says: 128 documents, the variance of RLOO(2)'s gradient; 40 draws of each."""
    torch.manual_seed(0)
    documents, variables, categories = 128, 4, 4
    logits = torch.randn(documents, variables, categories, requires_grad=True)
    queries = torch.nn.functional.normalize(torch.randn(documents, 16), dim=-1)
    codebooks = torch.randn(variables, categories, 16) / 4
    estimator, variances = dg.RLOO(), []
    for whole in (False, True):
        gradients = []
        for seed in range(40):
            draw = estimator.sample(logits, torch.Generator().manual_seed(seed))
            scores = 5 * queries @ codebooks[torch.arange(variables), draw.indices].sum(-2).mT
            values = contrastive(scores).values
            if whole:
                values = (scores.logsumexp(-1) - scores.diagonal(dim1=1, dim2=2)).mean(-1, keepdim=True)
                values = values.expand(2, documents)
            gradients.append(torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)[0])
        variances.append(torch.stack(gradients).var(0).sum())
    assert 60 < variances[1] / variances[0] < 250


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((torch.zeros(2, 3),), r"scores must be \[S, queries, documents\]"),
        ((torch.zeros(2, 3, 3, dtype=torch.int64),), "scores must be a floating-point tensor"),
        ((torch.zeros(2, 4, 3),), "4 queries and only 3 documents; give targets"),
        ((torch.zeros(2, 2, 3), torch.tensor([0, 3])), r"numbers of documents, in \[0, 3\)"),
        ((torch.zeros(2, 2, 3), torch.zeros(2, 3)), "of each query at least 0, with sum 1"),
        ((torch.zeros(2, 2, 3), torch.zeros(3)), r"int64 \[2\], each query's document, or probabilities \[2, 3\]"),
        ((torch.zeros(2, 2, 3), None, torch.zeros(2, 3)), r"other draws of all documents, \[K, 2, 3\]"),
        ((torch.zeros(2, 2, 3), None, None, torch.ones(2, 3)), r"mask must be bool \[2, 3\]"),
        ((torch.zeros(2, 2, 3), None, None, torch.zeros(2, 3).bool()), "puts off a query's own document"),
        ((torch.zeros(2, 1, 2), torch.tensor([1]), None, torch.tensor([[True, False]])), "puts off a query's own"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, match):
    with pytest.raises((TypeError, ValueError), match=match):
        contrastive(*arguments)
