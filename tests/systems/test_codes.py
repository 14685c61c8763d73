"""Codes: gradients of chains by enumeration, tables against decoded codes, embeddings made once, refusals."""

import itertools
import math
import sys

import pytest
import torch
from test_every_system import configure

import discretegrad as dg
from experiments.data import wordnet_glosses
from experiments.engine import World
from experiments.errors import UserError
from experiments.parts import embeddings
from experiments.parts.codes import Codes, scale_for
from experiments.parts.embeddings import Frozen
from experiments.parts.quantisers import Form, Quantiser, fit, principal_axes
from experiments.parts.retrieval import first_answers, retrieval
from experiments.parts.text import trained_tokenizer
from experiments.parts.towers import new_encoder
from experiments.systems.codes.model import Aims, CodesModel
from experiments.systems.codes.objectives import Question, alternatives, cosines, local_expectation, reciprocal_ranks
from experiments.train import build, train

Q, W = 3, 4
SIZES = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def toy(structure, variables=2, categories=2):
    """Codes in float64 with random parameters, asked Q queries."""
    rows = 1 if structure == "bits" else categories
    shape = (variables, rows, W)
    random = [torch.randn(size, dtype=torch.float64) for size in (shape, shape, shape[:2])]
    codes = Codes(structure, Quantiser(torch.eye(W, dtype=torch.float64), *random), torch.randn(9, W).double()).double()
    with torch.no_grad():  # large enough that codes matter, small enough that all are likely
        codes.heads.copy_(random[0]), codes.biases.copy_(random[2])
    return codes


def asks(documents):
    queries = torch.nn.functional.normalize(torch.randn(Q, W, dtype=torch.float64), dim=-1)
    return Question(queries, torch.rand(Q, documents, dtype=torch.float64).softmax(-1), None)


def every_code(codes, count):
    """All codes of so many documents, int64 `[M, count, V]`."""
    categories = range(codes.categories)
    ids = torch.tensor(list(itertools.product(categories, repeat=count * codes.variables)))
    return ids.reshape(-1, count, codes.variables)


def log_probs(codes, documents, ids):
    """Of codes `[M, N, V]`, `[M]`, variable by variable from the definition."""
    total = 0.0
    for v in range(codes.variables):
        before = codes.table[torch.arange(v), ids[..., :v]].sum(-2) if codes.chain and v else 0.0
        logits = (documents - before) @ codes.heads[v].T + codes.biases[v]
        if codes.structure == "bits":
            logits = torch.cat((torch.zeros_like(logits), logits), -1)
        logits = logits.expand(*ids.shape[:2], -1).log_softmax(-1)
        total = total + logits.gather(-1, ids[..., v : v + 1]).squeeze(-1)
    return total.sum(-1)


def loss_of(aims, asked, scores):
    """The softmax's loss `[...]` of scores `[..., Q, N]`, as it is written down."""
    scores = aims.sharpness * scores
    return (scores.logsumexp(-1) - (asked.targets * scores).sum(-1)).mean(-1)


def truth(codes, aims, documents, asked):
    """The gradients of the mean over all codes of the batch."""
    ids = every_code(codes, len(documents))
    losses = [loss_of(aims, asked, cosines(asked.asked, codes.decode(ids, prefix))) for prefix in aims.prefixes]
    mean = (log_probs(codes, documents, ids).exp() * torch.stack(losses).mean(0)).sum()
    return torch.autograd.grad(mean, list(codes.parameters()))


@pytest.mark.parametrize("prefixes", [[2], [1, 2]])
def test_the_gradient_of_a_chain_is_that_of_the_mean_over_all_codes(prefixes, monkeypatch):
    """RLOO of two codes for each of two documents, over all pairs of all codes, in everything that learns."""
    torch.manual_seed(len(prefixes))
    codes, documents, asked = toy("residual"), torch.randn(2, W, dtype=torch.float64), asks(2)
    aims = Aims("distil", 1.5, prefixes, 0.0, None)
    model = CodesModel(codes, dg.RLOO(2), aims, documents)
    expected = truth(codes, aims, documents, asked)
    one = every_code(codes, 1).squeeze(1)  # [4, V]
    probs = torch.stack([log_probs(codes, documents[n : n + 1], one.unsqueeze(1)) for n in range(2)]).exp().detach()
    torch.testing.assert_close(probs.sum(1), torch.ones(2, dtype=torch.float64))
    mean, total = [torch.zeros_like(each) for each in expected], 0.0
    for choice in itertools.product(range(len(one)), repeat=4):
        places = torch.tensor(choice).reshape(2, 2)
        ids, calls = one[places], iter(range(codes.variables))  # [2, 2, V]

        def given(self, logits, generator=None, ids=ids, calls=calls):
            return dg.functional.draw(logits, ids[..., next(calls)].unsqueeze(0))

        monkeypatch.setattr(dg.Reinforce, "sample", given)
        probability = float(probs[torch.arange(2), places].prod())
        gradient = torch.autograd.grad(model(documents, asked, None).total, list(codes.parameters()))
        mean = [sum_ + probability * own for sum_, own in zip(mean, gradient, strict=True)]
        total += probability
    assert total == pytest.approx(1, abs=1e-12)
    for found, wanted in zip(mean, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert all(float(each.abs().max()) > 1e-3 for each in expected)


@pytest.mark.parametrize(("structure", "objective"), [("additive", "distil"), ("bits", "distil"), ("product", "rank")])
def test_the_gradient_of_nested_codes_is_that_of_the_mean_over_all_codes(structure, objective):
    """Each variable is judged by the prefixes that it is in; the points of RLOO are enumerated."""
    torch.manual_seed(5)
    codes, documents, asked = toy(structure), torch.randn(2, W, dtype=torch.float64), asks(2)
    if objective == "rank":
        asked = asked._replace(targets=torch.tensor([1, 0, 1]))
    aims = Aims(objective, 1.5, [1, 2], 0.0, None)
    estimator = dg.RLOO(2, latent=codes.latent)
    model = CodesModel(codes, estimator, aims, documents)
    model.eval()  # frequencies stay
    ids = every_code(codes, 2)
    scores = [cosines(asked.asked, codes.decode(ids, prefix)) for prefix in aims.prefixes]
    losses = [ranked(each, asked.targets) if objective == "rank" else loss_of(aims, asked, each) for each in scores]
    mean = (log_probs(codes, documents, ids).exp() * torch.stack(losses).mean(0)).sum()
    learning = [codes.heads, codes.biases, *([] if objective == "rank" else [codes.codebooks])]
    expected = torch.autograd.grad(mean, learning)
    one, found = every_code(codes, 1).squeeze(1), [torch.zeros_like(each) for each in learning]
    probs = torch.stack([log_probs(codes, documents[n : n + 1], one.unsqueeze(1)) for n in range(2)]).exp().detach()
    sampler, kind = type(estimator), dg.latent.LATENTS[codes.latent]
    for choice in itertools.product(range(len(one)), repeat=4):
        places = torch.tensor(choice).reshape(2, 2)

        def given(self, logits, generator=None, places=places):
            return estimator.complete(dg.draw.given(logits, one[places], kind))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampler, "sample", given)
            lost = model(documents, asked, None)
        probability = float(probs[torch.arange(2), places].prod())
        gradient = torch.autograd.grad(lost.total, learning)
        found = [sum_ + probability * own for sum_, own in zip(found, gradient, strict=True)]
    for each, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(each, wanted, rtol=1e-9, atol=1e-12)
    assert all(float(each.abs().max()) > 1e-4 for each in expected)


def ranked(scores, answers):
    """Minus the mean reciprocal rank of scores `[M, Q, N]`."""
    best = scores[..., torch.arange(len(answers)), answers]
    return -(1 / (1 + (scores > best.unsqueeze(-1)).sum(-1)).double()).mean(-1)


@pytest.mark.parametrize("masked", [False, True])
def test_ranks_are_told_apart_by_document(masked):
    """Given the others, a document's own terms differ from minus the mean reciprocal rank by a constant."""
    torch.manual_seed(2)
    answers, points = torch.tensor([0, 2, 1, 2, 4]), torch.randn(6, 5, 5)
    mask = torch.rand(5, 5) < 0.7 if masked else torch.ones(5, 5).bool()
    mask[torch.arange(5), answers] = True
    context = points[0]
    values = reciprocal_ranks(points, answers, context, mask if masked else None)
    for document in range(5):
        moved = context.repeat(6, 1, 1)
        moved[:, :, document] = points[:, :, document]
        whole = ranked(moved.masked_fill(~mask, -torch.inf), answers)
        difference = (whole - values[:, document].double()).max() - (whole - values[:, document].double()).min()
        assert difference < 1e-6
    assert values.std() > 0.01


@pytest.mark.parametrize("structure", ["product", "additive"])
def test_tables_hold_the_cosines_of_all_codes_that_differ_in_one_variable(structure):
    torch.manual_seed(3)
    codes, asked = toy(structure, variables=2, categories=3), asks(4)
    ids = torch.randint(3, (4, 2))
    tables = alternatives(codes, ids, asked.asked)
    assert tables.shape == (2, 3, Q, 4)
    for variable, category in itertools.product(range(2), range(3)):
        other = ids.clone()
        other[:, variable] = category
        torch.testing.assert_close(tables[variable, category], cosines(asked.asked, codes.decode(other)))


def test_local_expectation_by_tables_is_the_estimator_at_its_enumerated_points():
    torch.manual_seed(4)
    codes, documents, asked = toy("additive", variables=3, categories=3), torch.randn(4, W).double(), asks(4)
    estimator, logits = dg.LocalExpectation(), codes.logits(documents)
    draw = estimator.sample(logits, torch.Generator().manual_seed(0))
    values = dg.objectives.contrastive(2.0 * cosines(asked.asked, codes.decode(draw.indices)), asked.targets).values
    learning = [codes.heads, codes.biases]
    expected = torch.autograd.grad(estimator.surrogate(draw, values.detach()).sum(), learning, retain_graph=True)
    by_tables = local_expectation(codes, draw.indices[0], logits, asked, 2.0)
    found = torch.autograd.grad(by_tables, learning, retain_graph=True)
    halves = [
        torch.autograd.grad(
            local_expectation(codes, draw.indices[0], logits, asked, 2.0, rows), learning, retain_graph=True
        )
        for rows in map(torch.tensor, itertools.combinations(range(Q), 2))
    ]
    for ours, wanted, *parts in zip(found, expected, *halves, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(sum(parts) / len(parts), wanted, rtol=1e-10, atol=1e-13)  # some queries: the mean
        assert float((parts[0] - wanted).abs().max()) > 1e-3


def test_logits_are_as_large_as_their_entropy_says():
    torch.manual_seed(6)
    for shape, latent, most in (((50, 4, 8), "categorical", math.log(8)), ((50, 4), "bernoulli", math.log(2))):
        logits = torch.randn(shape)
        for share in (0.1, 0.6):
            entropy = dg.objectives.entropy(logits * scale_for(logits, share, latent), latent=latent).mean() / 4
            assert float(entropy) == pytest.approx(share * most, rel=1e-3)


@pytest.mark.parametrize("structure", ["product", "residual", "bits"])
def test_what_is_sampled_at_the_start_is_the_nearest(structure):
    """Without faiss: the served codes are those of the nearest codewords, one variable after the other."""
    torch.manual_seed(7)
    latent, categories = ("bernoulli", 2) if structure == "bits" else ("categorical", 4)
    inputs = torch.nn.functional.normalize(torch.randn(200, 10), dim=-1)
    form = Form(structure, 4, categories, 8, "sampled", latent)
    codes = Codes(structure, fit(form, inputs, 0), inputs, 0.3)
    again, other = fit(form, inputs, 0), fit(form, inputs, 1)
    assert torch.equal(again.codebooks, codes.codebooks) and not torch.equal(other.codebooks, codes.codebooks)
    projected, ids = codes.project(inputs), codes.encode(inputs)
    if structure == "bits":
        assert torch.equal(ids, (projected @ again.heads.squeeze(1).T > 0).long())
        return
    rest = projected
    for variable, table in enumerate(codes.table.detach()):
        own = rest * (table != 0).any(0)
        assert torch.equal(ids[:, variable], torch.cdist(own, table).argmin(1))
        rest = rest - table[ids[:, variable]]
    torch.testing.assert_close(codes.decode(ids), projected - rest)


def test_the_axes_are_the_principal_ones():
    inputs = torch.randn(50, 6, dtype=torch.float64) * torch.tensor([1, 5, 2, 0.1, 3, 1.0], dtype=torch.float64)
    axes = principal_axes(inputs, 3).double()
    torch.testing.assert_close(axes @ axes.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-6)
    kept = torch.linalg.svdvals(inputs)[:3].square().sum()
    torch.testing.assert_close((inputs @ axes.T).square().sum(), kept, rtol=1e-6, atol=0)


def test_first_answers_are_those_of_the_sorted_search():
    torch.manual_seed(8)
    queries, documents = torch.randn(23, 3).sign(), torch.randn(31, 3).sign()  # with many ties
    relevant = (torch.rand(23, 31) < 0.1) | (torch.arange(31) == torch.arange(23).unsqueeze(1))
    found = first_answers(queries, documents, lambda part: relevant[part], World(), most=1)
    expected = retrieval(queries, documents, lambda part: relevant[part], World())
    assert found["mrr"] == pytest.approx(expected["mrr"], rel=1e-6)
    assert found["recall"] == pytest.approx(expected["p_at_1"], rel=1e-6)


def test_nouns_ask_for_their_definition():
    pairs = wordnet_glosses(500, 3000, others=200)
    assert "dog, domestic dog, Canis familiaris (domestic animal)" in {p.query for p in wordnet_glosses().train}
    assert (len(pairs.train), len(pairs.others)) == (500, 200)
    glosses = [*(pair.document for pair in (*pairs.train, *pairs.held_out)), *pairs.others]
    assert len({*glosses}) == len(glosses)
    assert wordnet_glosses(200, 3000, others=200).train == pairs.train[:200]
    with pytest.raises(UserError, match=r"data.pairs=78000 and data.others=9000 are more than the 7\d+"):
        wordnet_glosses(78000, 3000, others=9000)


def test_embeddings_are_made_once_or_not_at_all(tmp_path, monkeypatch):
    folder = tmp_path / "encoder"
    texts = ["a cat", "a dog sat here"]
    new_encoder(SIZES, 40, 16).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(trained_tokenizer(texts, 40, str(tmp_path), progress=False))
    frozen = Frozen(str(folder), 8, str(tmp_path / "cache"))
    found = frozen.embed(texts, progress=False)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(frozen.embed(texts[1:], progress=False), found[1:])  # whatever else is embedded

    def refuse(*_):
        raise RuntimeError("embedded")

    monkeypatch.setattr(embeddings, "_embedded", refuse)
    assert torch.equal(frozen.embed(texts, progress=False), found)
    for other in (frozen._replace(length=7), frozen._replace(cache=str(tmp_path / "there"))):
        with pytest.raises(RuntimeError, match="embedded"):
            other.embed(texts, progress=False)
    assert not list((tmp_path / "there").rglob("*.pt"))
    for path in (tmp_path / "cache").rglob("*.pt"):
        path.write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"\.pt is damaged; remove it"):
        frozen.embed(texts, progress=False)
    with pytest.raises(UserError, match=r"task\.encoder=nothing is no folder here"):
        Frozen("nothing", 8, "").check()


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["model.structure=tree"], "model.structure is one of product, additive, residual, bits, not 'tree'"),
        (["model.start=rq"], "model.start=rq is no start for model.structure=product; give opq or pq or sampled"),
        (["model.variables=3"], r"model\.dimensions=8 must be a multiple of model\.variables=3"),
        (["model.dimensions=300"], r"model\.dimensions=300 is more than the 256 of the embeddings"),
        (["model.entropy=0"], r"model\.entropy must be above 0"),
        (["model.structure=bits"], r"model\.latent=bernoulli and model\.structure=bits go together"),
        (["model.structure=bits", "model.latent=bernoulli"], r"needs model\.categories=2"),
        (["model.structure=residual", "estimator=disarm_tree"], "DisARMTree does not fit model.structure=residual"),
        (["model.structure=residual", "estimator=reinmax", "estimator.num_samples=2"], "with one sample"),
        (["estimator=exact"], "the points of Exact are no draws of codes"),
        (["task.prefixes=[2,5]"], r"task\.prefixes has 5, and there are 4 variables"),
        (["task.objective=mrr"], r"task\.objective is one of distil, labels, rank"),
        (["task.objective=rank", "estimator=reinmax"], "a rank has no gradient in the points, which ReinMax needs"),
        (["estimator=local_expectation"], "LocalExpectation is computed by tables"),
        (["model.categories=64"], r"model\.categories=64 is more than the 60 training documents"),
        (["task.beam=0"], r"task\.beam must be an integer of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(overrides, match, tmp_path):
    with pytest.raises(UserError, match=match):
        build(configure("codes", tmp_path / "run", *overrides))
    assert not (tmp_path / "run").exists()


def test_a_missing_faiss_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"faiss must be installed for this; run: .*\.\[codes\]'"):
        build(configure("codes", tmp_path / "run", "model.start=null"))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.structure=residual", "task.beam=2", "task.objective=labels"],
        ["model.structure=residual", "estimator=gumbel_softmax_hard"],
        ["model.structure=bits", "model.categories=2", "model.latent=bernoulli", "estimator=disarm", "task.price=0.1"],
        ["model.structure=additive", "estimator=local_expectation", "estimator.num_variables=null", "task.asked=3"],
        ["task.objective=rank"],
        ["estimator=argmax_st", "task.price=0.1"],
        ["estimator=relax"],
    ],
    ids=["labels", "chain", "bits", "tables", "rank", "argmax", "learner"],
)
def test_every_way_of_training_trains(overrides, tmp_path):
    tables = ["task.prefixes=null"] if "estimator=local_expectation" in overrides else []
    run = train(configure("codes", tmp_path / "run", *overrides, *tables, "run.steps=4"))
    before, after = run.task.start[0], run.task.model.codes
    assert not torch.equal(before.heads, after.heads) and not torch.equal(before.codebooks, after.codebooks)
    if after.structure == "product":  # whose codebooks stay in their dimensions
        assert torch.equal(after.table != 0, (before.table != 0).expand_as(after.table))
    assert run.result["mrr"] > 0
