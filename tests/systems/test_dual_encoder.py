"""Dual encoders: the loss is its formula, search is exact, what takes long is made once, and runs go on bit for bit."""

import copy
import csv
import gzip
import hashlib
import itertools
import json
import math
import os
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from experiments.data import Pair, Pairs, wordnet, wordnet_pairs
from experiments.engine import Run, Settings, UserError, World
from experiments.parts import towers
from experiments.parts.contrastive import ALONE, equal_texts, in_batch_softmax
from experiments.parts.retrieval import MEASURES, Judged, retrieval
from experiments.parts.text import Tokens, encode, trained_tokenizer
from experiments.parts.towers import embed
from experiments.parts.words import SubwordEmbedding, drop_words, known_words, spelled
from experiments.systems.dual_encoder import DualEncoder, DualEncoderTask
from experiments.train import train

ROOT = Path(__file__).parents[2]
SIZES = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
wordnet_module = sys.modules["experiments.data.wordnet"]  # the package has a function of that name


def toy(cache, count=144, held_out=36):
    """Queries say in one language what documents say in another; which words go together is to be learned."""
    colours = ["red", "blue", "green", "pink", "gold", "grey", "lime", "teal", "plum", "rust", "navy", "coal"]
    words = [f"{a} {b}" for a, b in itertools.product(colours, colours)]
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(1)).tolist()
    pairs = [Pair(words[i], " ".join(word[::-1].upper() for word in words[i].split())) for i in order]
    return Pairs("toy", pairs[held_out:count], pairs[:held_out], str(cache))


def toy_run(folder, cache, steps=6, variant="sde", dropout=0.1, batch=16, world=ALONE, task=None, **others):
    """A run of the toy, without Hydra."""
    settings = {"batch": batch, "seed": 0, "log_every": 2, "evaluate_every": 4, "evaluate_most": 12}
    settings |= {"checkpoint_every": 100, "keep": (), "clip": None, "monitor_share": None, "progress": False}
    torch.manual_seed(0)
    sizes = SIZES | {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    model = partial(DualEncoder, sizes, 8, variant=variant, **others)
    task = DualEncoderTask(toy(cache), model, **{"vocabulary": 300, "length": 8, "temperature": 0.1} | (task or {}))
    makers = {"optimizer": partial(torch.optim.AdamW, lr=1e-2)}
    return Run(Settings(dir=str(folder), steps=steps, **settings), task, makers, None, {}, world)


def configure(run_dir, *overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        fixed = ["system=dual_encoder", "+tiny=dual_encoder", "device=cpu", f"run.dir={run_dir}"]
        return compose("train", [*fixed, *overrides])


@pytest.fixture(scope="module")
def nouns():
    return wordnet()


@pytest.fixture
def few_nouns(nouns, monkeypatch):
    """The first 4,000 of WordNet, which take less time."""
    relations = tuple(r for r in nouns.relations if max(r.head, r.tail) < 4000)
    few = nouns._replace(synsets=nouns.synsets[:4000], relations=relations)
    monkeypatch.setattr(wordnet_module, "wordnet", lambda: few)


def units(*shape):
    return torch.nn.functional.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


# The data.


def test_wordnet_is_what_it_should_be(nouns):
    assert (len(nouns.synsets), len(nouns.relations)) == (82_115, 115_073)
    assert len({synset.lexname for synset in nouns.synsets}) == 26
    dog = next(synset for synset in nouns.synsets if "Canis familiaris" in synset.lemmas)
    assert dog.lemmas == ("dog", "domestic dog", "Canis familiaris")
    assert (dog.lexname, dog.examples) == ("noun.animal", ("the dog barked all night",))
    assert all(synset.gloss and all(synset.lemmas) and all(synset.examples) for synset in nouns.synsets)
    heads = {nouns.synsets[r.tail].lemmas[0] for r in nouns.relations if nouns.synsets[r.head] is dog}
    assert {"canine", "domestic animal"} <= heads
    assert max(max(r.head, r.tail) for r in nouns.relations) < len(nouns.synsets)


def test_held_out_nouns_are_the_same_for_ever(nouns, monkeypatch):
    order = nouns.shuffled()
    assert sorted(order) == list(range(82_115))
    digest = hashlib.sha256(repr(order[:3000]).encode()).hexdigest()
    assert digest == "89de048a247306e7a5f28e9daa93b598967360748095f9d9cec88628d4d878c7"

    monkeypatch.setattr(wordnet_module, "wordnet", lambda: nouns)
    monkeypatch.setattr(type(nouns), "shuffled", lambda self: order)  # which takes its time
    pairs, fewer = wordnet_pairs(), wordnet_pairs(pairs=500)
    assert (len(pairs.train), len(pairs.held_out)) == (79_019, 3000)
    assert fewer.held_out == pairs.held_out
    assert fewer.train == pairs.train[:500]
    assert not {pair.query for pair in pairs.train} & {pair.query for pair in pairs.held_out}
    documents = {pair.document for pair in (*pairs.train, *pairs.held_out)}
    expected = "dog, domestic dog, Canis familiaris; kind of domestic animal, canine; like puppy, pooch, cur"
    assert expected in documents
    assert "Fayetteville; kind of town" in documents
    with pytest.raises(UserError, match=r"data.pairs=90000 is more than the 7\d+ pairs"):
        wordnet_pairs(pairs=90_000)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (gzip.compress(b"entity\tnoun.Tops\tsomething\t\n", mtime=0), "not the file it should be"),
        (b"no gzip", "missing, damaged or cut off"),
        (None, "missing, damaged or cut off"),
    ],
)
def test_a_damaged_file_of_words_is_named(content, match, tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet_module, "HERE", tmp_path)
    if content is not None:
        (tmp_path / "nouns.tsv.gz").write_bytes(content)
    with pytest.raises(UserError, match=f"nouns.tsv.gz .*{match}|{match}.*nouns.tsv.gz|nouns.tsv.gz is {match}"):
        wordnet.__wrapped__()  # without what it has read before


# The loss.


def by_hand(queries, documents, equal, temperature):
    """Each pair's loss, in plain loops."""
    losses = []
    for i in range(len(queries)):
        total = 0.0
        for rows, columns in ((queries, documents), (documents, queries)):
            scores = [float(rows[i] @ columns[j]) / temperature for j in range(len(columns))]
            kept = [score for j, score in enumerate(scores) if j == i or not equal[i][j]]
            total += math.log(sum(math.exp(score) for score in kept)) - scores[i]
        losses.append(total / 2)
    return torch.tensor(losses, dtype=torch.float64)


def test_the_loss_is_its_formula():
    queries, documents = units(7, 5), units(7, 5)
    equal = torch.rand(7, 7) < 0.3
    equal = (equal | equal.T).fill_diagonal_(False)
    found = in_batch_softmax(queries, documents, equal, 0.3)
    torch.testing.assert_close(found, by_hand(queries, documents, equal.tolist(), 0.3), rtol=1e-12, atol=0)
    torch.testing.assert_close(in_batch_softmax(documents, queries, equal, 0.3), found)
    apart = in_batch_softmax(queries, documents, torch.zeros_like(equal), 0.3)
    assert (apart > found).any()  # the mask is not for nothing


def test_equal_texts_are_no_negatives():
    queries, documents = torch.tensor([0, 1, 0, 2, 3]), torch.tensor([4, 5, 6, 5, 7])
    equal = equal_texts(queries, documents)
    assert equal.nonzero().tolist() == [[0, 2], [1, 3], [2, 0], [3, 1]]
    points = units(5, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(in_batch_softmax(units(5, 3), points, equal, 0.1)[0], points)
    assert (gradient[2] == 0).all()
    assert (gradient[[0, 1, 3, 4]] != 0).any(1).all()


class Rank(World):
    """One of two processes, which sees what the other has gathered because both are here."""

    def with_parts(self, *parts):
        object.__setattr__(self, "parts", {id(half): whole for halves, whole in parts for half in halves})
        return self

    def gather(self, rows):
        return self.parts[id(rows)]


def test_two_processes_have_the_loss_and_gradient_of_one():
    """Each has half of the pairs as its own, and all as negatives; the optimisers see the mean of their gradients."""
    numbers = torch.tensor([[0, 1, 2, 0, 3, 4], [0, 1, 2, 3, 2, 4]])
    queries, documents = (units(6, 4).requires_grad_() for _ in range(2))
    whole = in_batch_softmax(queries, documents, equal_texts(*numbers), 0.2)
    losses = []
    for rank in range(2):
        own = slice(3 * rank, 3 * rank + 3)
        halves = [column[own] for column in (queries, documents, *numbers)]
        wholes = [queries, documents, *numbers]
        world = Rank(rank, 2).with_parts(*(([half], all_) for half, all_ in zip(halves, wholes, strict=True)))
        equal = equal_texts(*halves[2:], world)
        losses.append(in_batch_softmax(*halves[:2], equal, 0.2, world))
    torch.testing.assert_close(torch.cat(losses), whole, rtol=1e-12, atol=0)
    mean = torch.stack([loss.mean() for loss in losses]).mean()
    for found, expected in zip(
        torch.autograd.grad(mean, (queries, documents)),
        torch.autograd.grad(whole.mean(), (queries, documents)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


# Search.


@pytest.mark.parametrize("ties", [False, True])
def test_search_is_brute_force(ties, monkeypatch):
    monkeypatch.setattr("experiments.parts.retrieval.CHUNK", 7)
    queries, documents = torch.randn(23, 4), torch.randn(31, 4)
    if ties:
        queries, documents = queries.sign(), documents.sign()  # of equal scores, the wrong documents come first
    wanted = torch.rand(23, 31) < 0.1
    wanted[torch.arange(23), torch.arange(23)] = True
    ranks = []
    for i in range(23):
        scores = (documents @ queries[i]).tolist()
        best = max(score for score, found in zip(scores, wanted[i], strict=True) if found)
        ahead = [score >= best and not found for score, found in zip(scores, wanted[i], strict=True)]
        ranks.append(1 + sum(ahead))
    found = retrieval(queries, documents, lambda part: wanted[part], World())
    assert found["mrr"] == pytest.approx(sum(1 / rank for rank in ranks) / 23, rel=1e-6)
    assert found["p_at_1"] == pytest.approx(ranks.count(1) / 23, rel=1e-6)
    assert len(set(ranks)) > 3


def test_grades_are_discounted_by_the_place():
    """NDCG at 10 by its formula: the sum of grades over log2 of place + 1, over that of the best order."""
    queries, documents = torch.randn(9, 4), torch.randn(14, 4)
    grades = torch.randint(0, 4, (9, 14))
    grades[:, 0] = 1

    def gain(ordered):
        return sum(grade / math.log2(place + 2) for place, grade in enumerate(ordered[:10]))

    ratios = []
    for query, own in zip(queries, grades, strict=True):
        order = (documents @ query).argsort(descending=True)
        ratios.append(gain(own[order].tolist()) / gain(sorted(own.tolist(), reverse=True)))
    found = retrieval(queries, documents, lambda part: grades[part], World())
    assert found["ndcg_at_10"] == pytest.approx(sum(ratios) / 9, rel=1e-5)


def test_judged_texts_are_there_once():
    pairs = [Pair("a", "x", 2), Pair("b", "y"), Pair("a", "y"), Pair("b", "y")]
    judged = Judged.of(pairs, ["z", "x"])
    assert (judged.queries, judged.documents) == (["a", "b"], ["x", "y", "z"])
    assert judged.relevant(torch.tensor([1, 0])).tolist() == [[0, 1, 0], [2, 1, 0]]
    assert judged.relevant(torch.tensor([1])).tolist() == [[0, 1, 0]]


def test_processes_share_the_queries():
    queries, documents = torch.randn(10, 4), torch.randn(12, 4)
    wanted = torch.eye(10, 12, dtype=torch.bool)

    class Sums(World):
        def mean(self, total, count):
            return torch.tensor([total, count])

    parts = [retrieval(queries, documents, lambda part: wanted[part], Sums(rank, 3)) for rank in range(3)]
    whole = retrieval(queries, documents, lambda part: wanted[part], World())
    for name, value in whole.items():
        total, count = sum(part[name] for part in parts)
        assert count == 10
        assert float(total / count) == pytest.approx(value)


# Texts.


def test_a_tokenizer_is_trained_once(tmp_path, monkeypatch):
    from tokenizers import Tokenizer

    texts = ["A cat sat.", "the mat and the cat", "Cats sat on mats"] * 3
    first = trained_tokenizer(texts, 60, str(tmp_path / "here"), progress=False)
    assert trained_tokenizer(texts, 60, str(tmp_path / "there"), progress=False) == first
    (path,) = (tmp_path / "here" / "tokenizers").iterdir()

    def refuse(*_, **__):
        raise RuntimeError("trained")

    monkeypatch.setattr("tokenizers.Tokenizer.from_str", Tokenizer.from_str)
    with monkeypatch.context() as patch:
        patch.setattr("tokenizers.trainers.BpeTrainer", refuse)
        assert trained_tokenizer(texts, 60, str(tmp_path / "here"), progress=False) == first
        for other in ([*texts, "more"], texts[:-1]):
            with pytest.raises(RuntimeError, match="trained"):
                trained_tokenizer(other, 60, str(tmp_path / "here"), progress=False)
        with pytest.raises(RuntimeError, match="trained"):
            trained_tokenizer(texts, 61, str(tmp_path / "here"), progress=False)
    assert list((tmp_path / "here" / "tokenizers").iterdir()) == [path]
    tokenizer = Tokenizer.from_str(first)
    assert tokenizer.encode("the CAT").ids == tokenizer.encode("The cat").ids
    assert tokenizer.token_to_id("[PAD]") == 0


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/tokenizers/.* cannot be written .*data\.cache=FOLDER"):
        trained_tokenizer(["some text"], 60, str(tmp_path / "file"), progress=False)


@pytest.fixture
def tokenizer(tmp_path):
    from tokenizers import Tokenizer

    texts = [text for pair in toy(tmp_path).train for text in pair[:2]]
    return Tokenizer.from_str(trained_tokenizer(texts, 300, str(tmp_path), progress=False))


def test_tokens_are_the_tokenizer_s(tokenizer):
    texts = ["red blue", "teal", "red blue gold grey lime plum", "teal"]
    tokens = encode(tokenizer, texts, 4, padding=0, progress=False)
    assert tokens.lengths.tolist() == [2, 1, 4, 1]
    assert tokens.ids.shape == (4, 4)
    assert tokens.mask.sum(1).tolist() == [2, 1, 4, 1]
    assert [tokenizer.id_to_token(int(i)) for i in tokens.ids[2]] == ["▁red", "▁blue", "▁gold", "▁grey"]
    assert (tokens.ids[~tokens.mask] == 0).all()
    assert tokens.text.tolist() == [0, 1, 2, 1]
    some = tokens.take(torch.tensor([1, 0]))
    assert torch.equal(some.ids, tokens.ids[[1, 0], :2])
    with pytest.raises(UserError, match=r"text 1 of the data set is empty \(' '\)"):
        encode(tokenizer, ["red", " "], 4, padding=0, progress=False)


def test_words_are_frequent_ones_and_trigrams(tmp_path):
    texts = ["The cat, the hat.", "a cat's hat", "Motörhead"]
    tokenizer = trained_tokenizer(texts, 5, str(tmp_path), progress=False, whole=True)
    known = known_words(tokenizer)
    assert known == {"[PAD]": 0, "[UNK]": 1, "cat": 2, "hat": 3, "the": 4}
    more = [*texts, "Hatter"]
    own, forms = spelled(tokenizer, more)
    tokens = encode(own, more, 4, padding=0, progress=False)
    words = [[forms[i] for i in row[:n]] for row, n in zip(tokens.ids, tokens.lengths, strict=True)]
    assert words == [["the", "cat", "the", "hat"], ["a", "cat", "s", "hat"], ["motorhead"], ["hatter"]]

    embedding = SubwordEmbedding(5, 1_000_000, 4)
    embedding.spell(forms, known)
    rows = {trigram: 5 + zlib.crc32(trigram.encode()) % 1_000_000 for trigram in ("<ha", "hat", "at>", "<a>")}
    hat, a = (embedding(torch.tensor(forms.index(word))) for word in ("hat", "a"))
    own_rows = [3, rows["<ha"], rows["hat"], rows["at>"]]
    torch.testing.assert_close(hat, embedding.weight[own_rows].mean(0))
    torch.testing.assert_close(a, embedding.weight[rows["<a>"]])
    hatter = embedding.pieces[forms.index("hatter")]
    assert {rows["<ha"], rows["hat"]} <= {*hatter.tolist()}
    assert (embedding(torch.zeros(2, 3, dtype=torch.long)) == 0).all()
    with pytest.raises(UserError, match=r"give task\.trigrams=null"):
        known_words(trained_tokenizer(texts, 30, str(tmp_path), progress=False))


def test_words_are_dropped_as_often_as_they_should():
    """300,000 words, each dropped with 0.3: 6 standard errors of 0.00084 are wrong once in 5e8 times."""
    generator = torch.Generator().manual_seed(0)
    tokens = Tokens(torch.arange(1, 16).repeat(20_000, 1), torch.full((20_000,), 15), torch.arange(20_000))
    found = drop_words(tokens, 0.3, generator)
    assert abs(1 - found.lengths.sum().item() / 300_000 - 0.3) < 6 * 0.00084
    for ids, length in zip(found.ids[:50], found.lengths[:50], strict=True):
        assert (ids[:length].diff() > 0).all()  # in their order
    few = Tokens(torch.tensor([[7, 8], [9, 0]]).repeat(500, 1), torch.tensor([2, 1]).repeat(500), torch.arange(1000))
    found = drop_words(few, 0.95, generator)
    assert (found.lengths >= 1).all()
    assert {*found.ids[0::2, 0].tolist()} == {7, 8} and {*found.ids[1::2, 0].tolist()} == {9}


# Towers.


def small(variant="sde", sizes=SIZES, **others):
    return DualEncoder(sizes, 8, variant, vocabulary=300, length=12, **others)


def some_tokens(count=5, length=9):
    lengths = torch.randint(1, length + 1, (count,))
    lengths[0] = length
    return Tokens(torch.randint(2, 300, (count, length)), lengths, torch.arange(count))


def test_whatever_pads_a_text_changes_nothing():
    tower, tokens = small().eval().query_tower, some_tokens()
    found = tower(tokens)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))
    other = tokens._replace(ids=tokens.ids.masked_fill(~tokens.mask, 7))
    torch.testing.assert_close(tower(other), found)
    alone = torch.cat([tower(tokens.take(slice(i, i + 1))) for i in range(5)])
    torch.testing.assert_close(alone, found, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    torch.testing.assert_close(embed(tower, tokens, World()), found)


VARIANTS = ("sde", "ade", "ade_ste", "ade_fte", "ade_spl")
ARCHITECTURES = {
    "bert": SIZES,
    "t5": {"model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
    "gemma3_text": {
        "model_type": "gemma3_text",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "intermediate_size": 32,
    },
    "albert": SIZES | {"model_type": "albert", "num_hidden_layers": 2, "embedding_size": 12},
    "roberta": SIZES | {"model_type": "roberta"},
    "distilbert": {"model_type": "distilbert", "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
}


def same(model, module):
    """Whether the towers have the same tensors for a module, and whether equal values."""
    names = model.modules_of_towers[module]
    pairs = [(model.query_tower.get_parameter(n), model.document_tower.get_parameter(n)) for n in names]
    return all(a is b for a, b in pairs), all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("trigrams", [None, 20])
def test_every_architecture_is_a_tower_of_modules(kind, trigrams):
    """Every parameter belongs to one module and learns; whatever pads a text changes nothing."""
    model = small("ade", ARCHITECTURES[kind], trigrams=trigrams).eval()
    names = [name for module in model.modules_of_towers.values() for name in module]
    every = dict(model.query_tower.named_parameters(remove_duplicate=False))
    assert sorted(names) == sorted(every)
    layers = sum(module.startswith("layer") for module in model.modules_of_towers)
    assert layers == (1 if kind == "albert" else model.query_tower.encoder.config.num_hidden_layers)
    expected = {"embedder", "projection", *([] if kind in ("t5", "gemma3_text") else ["positions"])}
    assert {module for module in model.modules_of_towers if not module.startswith("layer")} == expected
    for embedder in model.subwords:
        embedder.spell([str(number) for number in range(300)], {})
    tokens = some_tokens(length=12)
    found = model.query_tower(tokens)
    torch.testing.assert_close(
        model.query_tower(tokens._replace(ids=tokens.ids.masked_fill(~tokens.mask, 7))), found, rtol=1e-4, atol=1e-5
    )
    alone = torch.cat([model.query_tower(tokens.take(slice(i, i + 1))) for i in range(5)])
    torch.testing.assert_close(alone, found, rtol=1e-4, atol=1e-5)
    found[:, 0].sum().backward()
    assert [name for name, p in model.query_tower.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_share_what_the_paper_says(variant):
    model = small(variant)
    shared = {"sde": {*model.modules_of_towers}, "ade_ste": {"embedder"}, "ade_spl": {"projection"}}.get(variant, set())
    assert {*model.shared} == shared
    assert {module for module in model.modules_of_towers if same(model, module)[0]} == shared
    equal = {module for module in model.modules_of_towers if same(model, module)[1]}
    assert equal == {*model.modules_of_towers} - ({"projection"} - shared)  # from the same start, but for projections
    tokens = some_tokens()
    alike = torch.allclose(*model.eval()(tokens, tokens), atol=1e-2)
    assert alike is (variant in ("sde", "ade_spl"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns_but_frozen_ones(variant):
    torch.manual_seed(0)
    model = small(variant)
    before = copy.deepcopy(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    queries, documents = model(some_tokens(), some_tokens())
    in_batch_softmax(queries, documents, torch.zeros(5, 5, dtype=torch.bool), 0.1).sum().backward()
    optimizer.step()
    stayed = [n for (n, a), b in zip(model.named_parameters(), before.parameters(), strict=True) if torch.equal(a, b)]
    frozen = [f"{tower}_tower.encoder.embeddings.word_embeddings.weight" for tower in ("query", "document")]
    assert stayed == (frozen if variant == "ade_fte" else [])
    assert {module for module in model.modules_of_towers if same(model, module)[1]} == {*model.shared} | (
        {"embedder"} if variant == "ade_fte" else set()
    )


def test_modules_are_named_one_by_one():
    model = small("projection+layer1")
    assert model.shared == ("layer1", "projection")
    assert [same(model, module)[0] for module in model.modules_of_towers] == [False, False, True, True]
    every = "+".join(model.modules_of_towers)
    assert small(every).query_tower is not None
    with pytest.raises(UserError, match=r"variant=ade_xyz is none of .*embedder, positions, layer1, projection"):
        small("ade_xyz")


@pytest.fixture
def weights(tmp_path, tokenizer):
    """A folder as transformers writes it, with another tokenizer than the toy's; and the encoder in it."""
    encoder = towers.new_encoder(SIZES, 300, 12)
    folder = tmp_path / "weights"
    encoder.save_pretrained(folder)
    tokenizer.enable_padding(length=11)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder, encoder


def test_pretrained_weights_are_loaded_from_a_folder(weights, tmp_path):
    folder, encoder = weights
    for variant in ("sde", "ade"):
        model = small(variant, pretrained=str(folder))
        for tower in (model.query_tower, model.document_tower):
            state = tower.encoder.state_dict()
            assert state.keys() == encoder.state_dict().keys()
            assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    run = toy_run(tmp_path / "run", tmp_path / "nothing", pretrained=str(folder))
    assert not (tmp_path / "nothing").exists()
    assert run.task.train_texts.queries.lengths.tolist() == [2] * len(run.task.pairs.train)
    run.start(False, "")
    run.train()
    assert run.step == 6


def test_weights_that_are_not_there_are_named(weights):
    folder, _ = weights
    with pytest.raises(UserError, match=r"task\.length=40 is more than the 13 tokens"):
        DualEncoder({}, 8, pretrained=str(folder), vocabulary=300, length=40)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"has no tokenizer\.json, which model\.pretrained="):
        small(pretrained=str(folder))
    with pytest.raises(UserError, match=r"nobody/nothing is no folder here, and cannot be fetched .*name a folder"):
        small(pretrained="nobody/nothing")


# Runs.


@pytest.mark.parametrize("variant", ["sde", "ade"])
def test_training_finds_held_out_pairs(variant, tmp_path):
    """36 pairs of words that never stood together: by chance a query's document is among the first ones, 1/36."""
    run = toy_run(tmp_path / "run", tmp_path, steps=60, variant=variant)
    run.task.eval()
    before = run.task.evaluate()
    run.task.train()
    run.start(False, "")
    run.train()
    assert before["mrr"] < 0.3
    assert run.result["mrr"] > 0.5
    assert run.result["train_loss"] < math.log(16)
    few = run.task.evaluate(12)
    assert few.keys() == before.keys()


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit_with_dropout(tmp_path):
    whole = toy_run(tmp_path / "whole", tmp_path / "cache", steps=9)
    whole.start(False, "")
    whole.train()
    first = toy_run(tmp_path / "parts", tmp_path / "cache", steps=5)
    first.start(False, "")
    first.train()
    second = toy_run(tmp_path / "parts", tmp_path / "other_cache", steps=9)
    second.start(True, "")
    assert second.step == 5
    second.train()
    for name, value in whole.task.model.state_dict().items():
        assert torch.equal(value, second.task.model.state_dict()[name]), name
    times = ("seconds", "steps_per_second")
    rows = [[{k: v for k, v in row.items() if k not in times} for row in run.record.rows] for run in (whole, second)]
    assert rows[0] == rows[1]
    assert rows[0][-1]["mrr"] is None and rows[0][1]["mrr"] is not None
    batch = second.task.batch(0)
    assert second.task(batch, None).loss != second.task(batch, None).loss  # dropout was switched on


def test_a_run_keeps_its_tokenizer(tmp_path):
    first = toy_run(tmp_path / "run", tmp_path / "cache", steps=2)
    first.start(False, "")
    first.train()
    expected = copy.deepcopy(first.task.held_out)
    (path,) = (tmp_path / "cache" / "tokenizers").iterdir()
    path.write_text(trained_tokenizer(["quite another text"], 40, str(tmp_path / "other"), progress=False))
    second = toy_run(tmp_path / "run", tmp_path / "cache", steps=3)
    assert second.task.tokenizer != first.task.tokenizer
    second.start(True, "")
    assert second.task.tokenizer == first.task.tokenizer
    for mine, theirs in zip(second.task.held_out, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_variants_start_from_a_run(tmp_path):
    """All but projections: the encoder's weights and the tokenizer of a run that learned from single texts."""
    words = {"trigrams": 20, "vocabulary": 40}
    first = toy_run(tmp_path / "first", tmp_path / "cache", steps=3, task=words | {"drop": 0.3})
    first.start(False, "")
    first.train()
    start = str(tmp_path / "first")
    second = toy_run(tmp_path / "second", tmp_path / "other", variant="ade", start=start, task=words)
    assert not (tmp_path / "other").exists()
    assert second.task.tokenizer == first.task.tokenizer
    expected = first.task.model.query_tower.encoder.state_dict()
    for tower in (second.task.model.query_tower, second.task.model.document_tower):
        assert all(torch.equal(value, expected[name]) for name, value in tower.encoder.state_dict().items())
    with pytest.raises(UserError, match=r"holds a run with another encoder.*task\.trigrams as there"):
        toy_run(tmp_path / "third", tmp_path / "other", start=start, task=words | {"trigrams": 21})


@pytest.mark.parametrize("package", ["transformers", "tokenizers", "torchmetrics"])
def test_a_missing_extra_is_one_sentence(package, few_nouns, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"^{package} must be installed .*pip install .*\.\[systems\]'$"):
        train(configure(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (
            ("model.variant=perhaps",),
            "'perhaps' is no module of the towers; .* are embedder, positions, layer1, projection",
        ),
        (("model.start=nowhere",), "model.start=nowhere holds no run"),
        (("model.start=nowhere", "model.pretrained=nobody/nothing"), "give one of them"),
        (("task.drop=1",), "task.drop must be a number in"),
        (("task.trigrams=0",), "task.trigrams must be an integer of at least 1"),
        (("+model.encoder.hiden_size=8",), "model.encoder.hiden_size is nothing that bert has"),
        (("model.encoder.model_type=birt",), "model.encoder.model_type=birt is no architecture"),
        (("model.encoder.hidden_size=15",), "hidden size .15. is not a multiple"),
        (("model.dimensions=0",), "model.dimensions must be an integer of at least 1"),
        (("task.temperature=0",), "task.temperature must be above 0"),
        (("task.temperature=-1",), "task.temperature must be a number"),
        (("task.length=0",), "task.length must be an integer of at least 1"),
        (("data.pairs=100000",), "data.pairs=100000 is more than the"),
        (("data.held_out=3001",), "data.held_out=3001 is more than the 3000 pairs"),
        (("data.pairs=0",), "data.pairs must be an integer of at least 1"),
        (("run.batch=61",), "run.batch=61 is more than the 60 training examples"),
        (("run.monitor_share=0.1",), "nothing that a monitor measures"),
    ],
)
def test_what_cannot_run_is_refused_before_any_work(overrides, match, few_nouns, tmp_path):
    with pytest.raises(UserError, match=match):
        train(configure(tmp_path / "run", *overrides))
    assert not (tmp_path / "run").exists()


def test_a_hub_that_says_nothing_is_not_waited_for(tmp_path, monkeypatch):
    import socket

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(towers, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(huggingface_hub.HfApi, "endpoint", huggingface_hub.constants.ENDPOINT, raising=False)
        with pytest.raises(UserError, match=r"nobody/nothing is no folder here, .*timed out"):
            small(pretrained="nobody/nothing")


@pytest.mark.slow
def test_two_processes_train_as_one_on_both_halves(tmp_path):
    """Without dropout: the same losses up to rounding, and the same figures of the same weights."""
    one = toy_run(tmp_path / "one", tmp_path, dropout=0.0)
    one.start(False, "")
    one.train()
    script = tmp_path / "two.py"
    script.write_text(f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from test_dual_encoder import toy_run
from experiments.engine.world import joined

with joined("cpu") as world:
    run = toy_run(Path({str(tmp_path)!r}) / "two", {str(tmp_path)!r}, dropout=0.0, batch=8, world=world)
    run.start(False, "")
    run.train()
""")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    rows = list(csv.DictReader((tmp_path / "two" / "metrics.csv").read_text().splitlines()))
    for found, expected in zip(rows, one.record.rows, strict=True):
        assert int(found["step"]) == expected["step"]
        assert float(found["train_loss"]) == pytest.approx(expected["train_loss"], rel=1e-4)
        assert (found["mrr"] == "") == (expected["mrr"] is None)
    one.task.load_state_dict(torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)["task"])
    one.task.eval()
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    assert {name: result[name] for name in MEASURES} == pytest.approx(one.task.evaluate(), rel=1e-6)
