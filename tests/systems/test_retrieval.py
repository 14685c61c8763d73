"""Parts of retrieval: WordNet as it is, the loss by its formula, search by brute force, tokenizers made once."""

import gzip
import hashlib
import math
import sys
import zlib

import pytest
import torch
from test_dual_encoder import toy

from experiments.data import Pair, wordnet, wordnet_pairs
from experiments.engine import World
from experiments.errors import UserError
from experiments.parts.contrastive import equal_texts, in_batch_softmax
from experiments.parts.retrieval import Judged, retrieval
from experiments.parts.text import Tokens, encode, trained_tokenizer
from experiments.parts.words import SubwordEmbedding, drop_words, known_words, spelled

wordnet_module = sys.modules["experiments.data.wordnet"]  # the package has a function of that name


@pytest.fixture(scope="module")
def nouns():
    return wordnet()


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
