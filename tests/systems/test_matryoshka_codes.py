"""Matryoshka codes: one surrogate has the mean loss's gradient in everything, by enumeration; codebooks by hand."""

import itertools
import math

import pytest
import torch
from hydra import compose, initialize_config_dir
from outcomes import draws
from test_conf import CONF
from test_retrieval import Rank, units

import discretegrad as dg
from experiments.engine import World
from experiments.errors import UserError
from experiments.systems.gemini_embedding import CodesTask
from experiments.systems.gemini_embedding.codes import Codebooks
from experiments.train import build, train

B, V, C, D = 2, 2, 2, 4
CATEGORICAL = dg.latent.LATENTS["categorical"]


def configure(folder, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["experiment=matryoshka_codes", "+tiny=gemini_embedding", "device=cpu", f"run.dir={folder / 'run'}"]
        fixed += [
            "model.start=null",
            "task.prefixes=null",
            "task.cuts=[]",
            "task.variables=3",
            "task.categories=4",
            "task.levels=[1,3]",
        ]
        return compose("train", [*fixed, f"data.cache={folder}", *overrides])


class Bare(CodesTask):
    """What the terms need, without texts."""

    def __init__(self, world=None):
        torch.nn.Module.__init__(self)
        self.codebooks, self.levels = Codebooks(V, C, D).double(), [1, 2]
        self.temperature, self.world = 0.5, world or World()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("estimator", [dg.RLOO(), dg.DisARMTree(), dg.DisARMSB()], ids=lambda e: type(e).__name__)
def test_one_surrogate_has_the_gradient_of_the_mean_loss_in_everything(estimator, masked):
    """Of the logits, the queries and the codebooks: the sum over both levels, over all draws of both documents."""
    task, equal = Bare(), torch.tensor([[False, masked], [False, False]])
    logits, queries = torch.randn(B, V, C).double().requires_grad_(), units(B, D).requires_grad_()
    leaves = (logits, queries, task.codebooks.vectors)
    every = torch.tensor(list(itertools.product(range(C), repeat=B * V))).reshape(-1, B, V)
    log_probs = logits.log_softmax(-1)[torch.arange(B)[:, None], torch.arange(V), every].sum((1, 2))
    losses = 0.0
    for level in task.levels:
        chosen = task.codebooks.vectors[torch.arange(level), every[..., :level]].sum(-2)
        scores = queries @ torch.nn.functional.normalize(chosen, dim=-1).mT / 0.5
        counted = scores.masked_fill(equal, -torch.inf)
        losses = losses + (counted.logsumexp(-1) - scores.diagonal(dim1=1, dim2=2)).mean(-1)
    expected = torch.autograd.grad((log_probs.exp() * losses).sum(), leaves)
    mean = 0.0
    for ids, probability in draws(estimator, logits):
        draw = estimator.complete(dg.draw.given(logits, ids, CATEGORICAL))
        values, loss = task.own_terms(draw.points, queries, equal)
        assert values.shape == (2, B) and not loss.requires_grad
        mean = mean + probability * estimator.surrogate(draw, values).sum()
    for got, want in zip(torch.autograd.grad(mean, leaves), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_two_processes_have_the_terms_of_one():
    task, queries = Bare(), units(4, D)
    points = torch.nn.functional.one_hot(torch.randint(C, (3, 4, V)), C).double()
    equal = torch.zeros(4, 4, dtype=torch.bool)
    equal[0, 3] = equal[3, 0] = True
    whole, loss = task.own_terms(points, queries, equal)
    decoded = {level: task.codebooks.decode(points, level).transpose(0, 1).detach() for level in task.levels}

    class Known(Rank):
        def gather(self, rows):
            if rows.dtype == torch.int64:
                return equal.long()
            if rows.ndim == 2:
                return queries
            own = slice(2 * self.rank, 2 * self.rank + 2)
            return next(all_ for all_ in decoded.values() if torch.equal(all_[own], rows.detach()))

    for rank in range(2):
        own = slice(2 * rank, 2 * rank + 2)
        task.world = Known(rank, 2)
        found, same = task.own_terms(points[:, own], queries[own], equal[own])
        torch.testing.assert_close(found, whole[:, own], rtol=1e-12, atol=0)
        torch.testing.assert_close(same, loss)


def test_the_likeliest_code_is_the_greedy_one():
    books = Codebooks(3, 5, 4).double()
    embeddings = units(20, 4)
    found = books.logits(embeddings).argmax(-1)
    for embedding, code in zip(embeddings, found, strict=True):
        rest = embedding
        for vectors, number in zip(books.vectors, code, strict=True):
            assert int(number) == int((vectors - rest).norm(dim=1).argmin())
            rest = rest - vectors[number]
    points = torch.nn.functional.one_hot(found, 5).double()
    total = sum(books.vectors[v, found[:, v]] for v in range(2))
    torch.testing.assert_close(books.decode(points, 2), torch.nn.functional.normalize(total, dim=-1))


def test_codebooks_start_from_what_is_to_be_coded():
    """Every codebook brings the sum nearer to embeddings; the posterior has three tenths of the largest entropy."""
    books, embeddings = Codebooks(4, 8, 6), units(300, 6).float()
    books.start(embeddings, torch.Generator().manual_seed(0))
    books.requires_grad_(False)
    logits = books.logits(embeddings)
    assert float(dg.objectives.entropy(logits).mean()) / 4 == pytest.approx(0.3 * math.log(8), rel=1e-3)
    rest, errors = embeddings, []
    for variable, vectors in enumerate(books.vectors):
        rest = rest - vectors[logits[:, variable].argmax(1)]
        errors.append(float(rest.square().sum(1).mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 2


@pytest.mark.parametrize("estimator", [(), ("estimator=straight_through", "estimator.latent=categorical")])
def test_codes_train_from_a_run_and_are_judged(estimator, tmp_path):
    run = train(configure(tmp_path, *estimator))
    assert {"mrr_code_1", "mrr_code_3", "codes_used", "mrr"} <= {*run.result}
    assert 1 <= run.result["codes_used"] <= 4 and 0 < run.result["mrr_code_3"] < 1
    run.task(run.task.batch(0), torch.Generator().manual_seed(0)).loss.backward()
    assert [name for name, parameter in run.task.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (("estimator=disarm",), "DisARM is for bernoulli latents, but these codes are categorical"),
        (("estimator=unordered_set", "estimator.latent=categorical"), "the points of UnorderedSet are no draws"),
        (("estimator=vimco", "estimator.latent=categorical"), "VIMCO differentiates a multi-sample bound, where codes"),
        (("task.levels=[4]",), r"task\.levels=\[4\] must be numbers up to task\.variables=3"),
        (("task.levels=[]",), r"task\.levels=\[\] must be"),
        (("task.categories=1",), r"task\.categories must be an integer of at least 2"),
        (("task.miner=somewhere",), r"hard negatives have no codes"),
    ],
)
def test_what_cannot_be_learned_is_refused(overrides, match, tmp_path):
    with pytest.raises(UserError, match=match):
        build(configure(tmp_path, *overrides))
    assert not (tmp_path / "run").exists()
