"""The language model of systems: its tokenizer, spans that are left out, probabilities of answers, others' weights."""

import io
import itertools
import json
from collections import Counter
from functools import partial

import pytest
import torch
from torchmetrics.functional.text import squad

from experiments.data.entity_facts import MASK, Corpus, EntityFacts
from experiments.engine import Settings, World
from experiments.errors import UserError
from experiments.parts import extras, towers
from experiments.parts.answers import exact_match, normalised
from experiments.parts.language_model import LanguageModel, said
from experiments.parts.reader import Reader
from experiments.parts.spans import Spans
from experiments.parts.text import Tokens
from experiments.studies.trials import composed
from experiments.systems.language_model import LanguageModelTask
from experiments.train import build, train

TEXTS = ["The dog barked all night.", "Côte d'Ivoire (a country) is in Africa; its capital is Yamoussoukro", "a cat"]
SIZES = {"model_type": "t5", "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    found = Reader(200, 40, None, sentinels=8)
    cache = str(tmp_path_factory.mktemp("cache"))
    found.begin([TEXTS, ["dog, sound, <extra_id_0>", "a", "b"]], TEXTS * 2, "", cache, 0, [], World(), False)
    return found


def small(**arguments):
    torch.manual_seed(0)
    return LanguageModel(SIZES, vocabulary=200, **arguments).eval()


# The tokenizer.


def test_tokens_are_the_text(reader):
    decoded = [reader.own.decode(row) for row in reader.columns[0].ids.tolist()]
    assert decoded == [text.lower() for text in TEXTS]
    sentinel, ids = reader.own.token_to_id("<extra_id_0>"), reader.own.encode("dog, sound, <extra_id_0> night").ids
    before, after = ids[: ids.index(sentinel)], ids[ids.index(sentinel) + 1 :]
    assert after == reader.own.encode("night").ids and before == reader.own.encode("dog, sound,").ids[:-1]
    assert reader.own.token_to_id("</s>") == 2 and reader.own.token_to_id("[PAD]") == 0


# Spans.


def test_spans_and_what_is_left_of_a_text_are_together_the_text(reader):
    spans, texts = Spans(reader.own, 0, density=0.4, mean=1.5), reader.columns[0]
    for seed in range(20):
        found = spans(texts, torch.Generator().manual_seed(seed))
        for number, (row, length) in enumerate(zip(texts.ids.tolist(), texts.lengths.tolist(), strict=True)):
            inputs, answers = (
                part.ids[number, : part.lengths[number]].tolist() for part in (found.texts, found.answers)
            )
            assert merged(inputs, answers, spans.sentinels) == row[:length]


def merged(inputs, answers, sentinels):
    """The text, by putting every span where its sentinel stands."""
    spans, current = {}, None
    for token in answers[:-1]:
        if token in sentinels:
            current = spans[token] = []
        else:
            current.append(token)
    assert all(spans.values()) and answers[-1] == inputs[-1]
    return [token for known in inputs for token in spans.get(known, [known])]


@pytest.mark.parametrize(
    ("length", "density", "mean", "spans"), [(10, 0.15, 3.0, 1), (9, 0.45, 2.0, 2), (5, 0.5, 1, 2)]
)
def test_all_places_have_the_same_probability(reader, length, density, mean, spans):
    """False alarm 1e-6 for each case: chi-square over all masks that there are."""
    from scipy.stats import chi2

    out = min(max(round(length * density), 1), length - 1)
    chosen, generator = Spans(reader.own, 0, density, mean), torch.Generator().manual_seed(1)
    ways = {
        flags
        for flags in itertools.product((False, True), repeat=length)
        if sum(flags) == out and sum(value for value, _ in itertools.groupby(flags)) == spans
    }
    draws = 200 * len(ways)
    counts = Counter(tuple(chosen.left_out(length, generator)) for _ in range(draws))
    assert counts.keys() <= ways
    statistic = sum((counts[way] - 200) ** 2 / 200 for way in ways)
    assert statistic < chi2.isf(1e-6, len(ways) - 1)


def test_texts_of_one_token_are_left_out_whole(reader):
    assert Spans(reader.own, 0).left_out(1, None) == [True]


# Probabilities and completions.


def test_probabilities_are_those_of_all_answers(reader):
    """Over all answers of one token and an end, and of longer ones, by the chain rule: they sum to 1."""
    model, texts = small(), reader.columns[1]
    row = texts.take(torch.tensor([0]))
    with torch.no_grad():
        encoded = model.encode(row)
        hidden = encoded.hidden.expand(200, -1, -1)
        of_all = type(encoded)(hidden, encoded.mask.expand(200, -1))
        first = torch.arange(200).unsqueeze(1)
        answers = Tokens(first, torch.ones(200, dtype=torch.long), first[:, 0])
        assert model.log_probability(of_all, answers).exp().sum() == pytest.approx(1, abs=1e-5)
        second = torch.cat((torch.full((200, 1), 7), first), 1)
        longer = Tokens(second, torch.full((200,), 2), first[:, 0])
        total = model.log_probability(of_all, longer).exp().sum()
        assert total == pytest.approx(float(model.log_probability(of_all, answers)[7].exp()), rel=1e-4)


def test_padding_and_neighbours_change_nothing(reader):
    model, texts, answers = small(), *reader.columns
    with torch.no_grad():
        together = model.log_probability(model.encode(texts), answers)
        alone = [
            model.log_probability(model.encode(texts.take(one)), answers.take(one))
            for one in torch.arange(len(texts.ids)).split(1)
        ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_prompts_are_read_before_the_text(reader):
    """The embeddings of a text's first tokens as prompts: the text itself."""
    model, texts = small(), reader.columns[0].take(torch.tensor([0]))
    rest = Tokens(texts.ids[:, 2:], texts.lengths - 2, texts.text)
    with torch.no_grad():
        prompts = model.network.get_input_embeddings()(texts.ids[:, :2])
        torch.testing.assert_close(model.encode(rest, prompts).hidden, model.encode(texts).hidden)


def test_completions_are_the_likeliest_tokens(reader):
    model, texts = small(), reader.columns[0]
    encoded = model.encode(texts)
    found = model.complete(encoded, 3)
    with torch.no_grad():
        for number, row in enumerate(found.tolist()):
            one = type(encoded)(encoded.hidden[number : number + 1], encoded.mask[number : number + 1])
            for place in range(len(row)):
                if 2 in row[:place]:
                    assert row[place] == 0
                    continue
                tried = torch.tensor([[*row[:place], token] for token in range(200)])
                of_all = type(encoded)(one.hidden.expand(200, -1, -1), one.mask.expand(200, -1))
                tokens = Tokens(tried, torch.full((200,), place + 1), tried[:, 0])
                assert int(model.log_probability(of_all, tokens).argmax()) == row[place]


# Answers.


def test_answers_match_as_in_squad():
    pairs = [
        ("The Dog.", ["dog"]),
        ("a  dog", ["cat", "Dog"]),
        ("théâtre", ["theatre"]),
        ("", ["the"]),
        ("athe na", ["athena"]),
        ("U.S.", ["us"]),
    ]
    ours = exact_match(*zip(*pairs, strict=True))
    theirs = [
        squad(
            [{"prediction_text": answer, "id": "0"}],
            [{"answers": {"answer_start": [0] * len(right), "text": right}, "id": "0"}],
        )["exact_match"]
        for answer, right in pairs
    ]
    assert ours == [float(match) == 100 for match in theirs]
    assert sum(ours) == 4 and normalised("The  (big) Dog") == "big dog"


def test_facts_are_judged_that_nothing_trains_on(tmp_path, monkeypatch):
    """Every other one is told before it is asked; one of four is answered wrongly, and it is one that is not told."""
    asked = [(f"n{n}, part of, {MASK}", f"{MASK} w{n}") for n in range(40)]
    statements = [(f"n{n}, part of, w{n}; {text}" if n % 2 else text, said) for n, (text, said) in enumerate(asked)]
    corpus = Corpus(["a dog barks", "a cat", "the bank"], ["a place"], statements, [], str(tmp_path))
    facts, model = EntityFacts("toy", (), (), (), (), corpus), partial(LanguageModel, SIZES)
    task = LanguageModelTask(facts, model, vocabulary=200)
    settings = {"batch": 4, "seed": 0, "log_every": 1, "evaluate_every": 9, "evaluate_most": None, "keep": ()}
    settings |= {"checkpoint_every": 9, "clip": None, "monitor_share": None, "progress": False}
    task.begin(Settings(dir=str(tmp_path / "run"), steps=1, **settings), World())
    assert task.judged == [statements[n] for n in (36, 38, 37, 39)]
    assert [len(column.ids) for column in task.reader.columns] == [3, 1, 36, 36, 4]
    given = []

    def right(texts, answers, length):
        given.extend(answers)
        return torch.tensor([answer != ["w38"] for answer in answers])

    monkeypatch.setattr(task, "right", right)
    found = task.evaluate(None)
    assert given == [["w36"], ["w38"], ["w37"], ["w39"]]
    assert (found["answered"], found["answered_told"]) == (0.5, 1) and found.keys() <= task.measures.keys()
    assert (task.evaluate(1)["answered"], given[4:]) == (1, [["w36"], ["w37"]])
    assert LanguageModelTask(facts, model, vocabulary=200, statements=0).measures.keys() == {
        "train_loss",
        "held_out_loss",
    }


# What others have trained.


def test_weights_of_others_come_with_their_tokenizer(tmp_path, reader):
    from transformers import T5Tokenizer

    own = small()
    own.network.save_pretrained(tmp_path / "t5")
    theirs = T5Tokenizer(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁dog", -1.0), ("▁", -2.0)], extra_ids=3
    )
    theirs.save_pretrained(tmp_path / "t5")
    model = small(pretrained=str(tmp_path / "t5"))
    assert torch.equal(model.network.shared.weight, own.network.shared.weight)
    found = Reader(200, 40, None, sentinels=8)
    found.begin([["dog dog dog dog"]], [], model.tokenizer, str(tmp_path), model.padding, [], World(), False)
    assert found.columns[0].ids.tolist() == [[3, 3, 3, 3, 1]]
    assert len(Spans(found.own, model.padding).sentinels) == 3


def test_a_run_from_a_t5_1_1_is_started_from_whole(tmp_path, reader):
    """It has a last layer of its own, and does not scale what that reads, unlike what `model.sizes` would make."""
    from safetensors.torch import save_file

    network = small().network
    state = {name: value.clone() for name, value in network.state_dict().items()}
    state["lm_head.weight"] = torch.randn_like(state["lm_head.weight"])
    stated = network.config.to_dict()
    del stated["scale_decoder_outputs"]  # which published ones do not say
    folder = tmp_path / "t5"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(stated | {"tie_word_embeddings": False}))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "tokenizer.json").write_text(reader.tokenizer)
    model = small(pretrained=str(folder))
    assert torch.equal(model.network.lm_head.weight, state["lm_head.weight"])
    assert torch.equal(model.network.shared.weight, state["shared.weight"])
    assert not model.network.config.scale_decoder_outputs

    few = [
        "system=language_model",
        f"data.cache={tmp_path / 'cache'}",
        "+tiny=language_model",
        "threads=1",
        "device=cpu",
        "run.steps=1",
    ]
    first = train(composed([*few, f"model.pretrained={folder}", f"run.dir={tmp_path / 'first'}"])).task
    second = build(composed([*few, f"model.start={tmp_path / 'first'}", f"run.dir={tmp_path / 'second'}"])).task
    texts = first.reader.columns[1].take(slice(2))
    with torch.no_grad():
        said = [task.model.eval().log_probability(task.model.encode(texts), texts) for task in (first, second)]
    assert torch.equal(*said) and second.model.network.encoder.embed_tokens.weight is second.model.network.shared.weight
    assert not torch.equal(second.model.network.lm_head.weight, state["lm_head.weight"])


PLAIN = ["the dog barks at the bank of the river", "a pitcher of water", "kind of animal, part of a thing"]


def save_as_t5(folder, tokenizer=b""):
    """The files that T5 1.1 has."""
    small().network.save_pretrained(folder)
    (folder / "spiece.model").write_bytes(tokenizer)


def test_a_tokenizer_of_sentencepiece_is_read_as_t5_has_it(tmp_path):
    """Texts have sentencepiece's own ids and T5's end; sentinels stand behind all pieces, the first one last."""
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(PLAIN * 20),
        model_writer=written,
        vocab_size=50,
        hard_vocab_limit=False,
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "minloglevel": 2},
    )
    save_as_t5(tmp_path, written.getvalue())
    model, pieces = (
        small(pretrained=str(tmp_path)),
        sentencepiece.SentencePieceProcessor(model_proto=written.getvalue()),
    )
    reader = Reader(200, 40, None, sentinels=8)
    texts = [*PLAIN, f"dog, part of, {MASK}"]
    reader.begin([texts], [], model.tokenizer, str(tmp_path), model.padding, model.subwords, World(), False)
    found = reader.columns[0]
    rows = [ids[:length] for ids, length in zip(found.ids.tolist(), found.lengths.tolist(), strict=True)]
    assert rows[:3] == [[*pieces.encode(text), 1] for text in PLAIN]
    first = pieces.vocab_size() + 99
    assert rows[3] == [*pieces.encode("dog, part of,"), first, 1]
    assert Spans(reader.own, 0).sentinels == [*range(first, first - 100, -1)]
    assert reader.own.decode(rows[0]) == PLAIN[0]
    assert said(reader, model, found, 4) and torch.isfinite(model.log_probability(model.encode(found), found)).all()


def test_what_reads_a_tokenizer_of_sentencepiece_is_named_where_it_is_missing(tmp_path, monkeypatch):
    save_as_t5(tmp_path)
    plain, without = extras.find_spec, ("sentencepiece", "google.protobuf")
    monkeypatch.setattr(extras, "find_spec", lambda package: None if package in without else plain(package))
    with pytest.raises(UserError, match=r"sentencepiece and google.protobuf must be installed.*\[systems\]"):
        small(pretrained=str(tmp_path))


@pytest.mark.parametrize(
    ("sizes", "arguments", "match"),
    [
        ({"model_type": "bert"}, {}, "model.sizes.model_type=bert does not have an encoder and a decoder; give t5"),
        ({"model_type": "t55"}, {}, "model.sizes.model_type=t55 is no architecture"),
        ({"model_type": "t5", "d_modell": 3}, {}, "model.sizes.d_modell is nothing that t5 has"),
        (SIZES, {"start": "nowhere"}, "model.start=nowhere holds no run"),
        (SIZES, {"start": "nowhere", "pretrained": "x"}, "give one of them"),
    ],
)
def test_models_that_there_are_not_are_refused(sizes, arguments, match):
    with pytest.raises(UserError, match=match):
        LanguageModel(sizes, vocabulary=200, **arguments)


def test_a_folder_without_weights_and_a_hub_that_is_not_there_are_named(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(towers, "PATIENCE", 0.1)
    monkeypatch.setattr(huggingface_hub.HfApi, "endpoint", "http://127.0.0.1:9", raising=False)
    with pytest.raises(UserError, match=r"model.pretrained=nobody/nothing is no folder here, and cannot be fetched"):
        small(pretrained="nobody/nothing")
    small().network.config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"has no model.safetensors, which model.pretrained=.* needs"):
        small(pretrained=str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"model.pretrained=.* cannot be read \("):
        small(pretrained=str(tmp_path))


def test_tokenizers_without_sentinels_are_refused():
    from tokenizers import Tokenizer, models

    with pytest.raises(UserError, match="has no sentinel <extra_id_0>"):
        Spans(Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")), 0)
