"""Dual encoders: what variants share, in every architecture; and runs that go on bit for bit."""

import copy
import csv
import itertools
import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from test_conf import options

from experiments.data import Pair, Pairs, wordnet
from experiments.engine import Learning, Run, Settings, World
from experiments.errors import UserError
from experiments.parts import towers
from experiments.parts.contrastive import ALONE, in_batch_softmax
from experiments.parts.retrieval import MEASURES
from experiments.parts.text import Tokens, trained_tokenizer
from experiments.parts.towers import embed
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
    return Run(Learning(Settings(dir=str(folder), steps=steps, **settings), task, makers, None, world), {})


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


@pytest.fixture
def tokenizer(tmp_path):
    from tokenizers import Tokenizer

    texts = [text for pair in toy(tmp_path).train for text in pair[:2]]
    return Tokenizer.from_str(trained_tokenizer(texts, 300, str(tmp_path), progress=False))


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


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_groups_of_like_length_embed_and_learn_as_the_whole_batch(kind, monkeypatch):
    tower, tokens = small(sizes=ARCHITECTURES[kind]).eval().query_tower, some_tokens(11)
    weights, found = torch.randn(11, 8), []
    for group in (11, 3, 1):
        monkeypatch.setattr(towers, "GROUP", group)
        embeddings = tower(tokens)
        found.append((embeddings, *torch.autograd.grad((embeddings * weights).sum(), [*tower.parameters()])))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("encoder", options("model/encoder"))
def test_every_configured_encoder_is_built(encoder, tmp_path):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", ["system=dual_encoder", f"model/encoder={encoder}"])
    model = instantiate(config.model)(vocabulary=300, length=12)
    found = model.eval().query_tower(some_tokens())
    assert found.shape == (5, 96)
    assert model.query_tower.encoder.config.model_type == encoder


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
    run.start(False, {})
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
    run.start(False, {})
    run.train()
    assert before["mrr"] < 0.3
    assert run.result["mrr"] > 0.5
    assert run.result["train_loss"] < math.log(16)
    few = run.task.evaluate(12)
    assert few.keys() == before.keys()


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit_with_dropout(tmp_path):
    whole = toy_run(tmp_path / "whole", tmp_path / "cache", steps=9)
    whole.start(False, {})
    whole.train()
    first = toy_run(tmp_path / "parts", tmp_path / "cache", steps=5)
    first.start(False, {})
    first.train()
    second = toy_run(tmp_path / "parts", tmp_path / "other_cache", steps=9)
    second.start(True, {})
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
    first.start(False, {})
    first.train()
    expected = copy.deepcopy(first.task.held_out)
    (path,) = (tmp_path / "cache" / "tokenizers").iterdir()
    path.write_text(trained_tokenizer(["quite another text"], 40, str(tmp_path / "other"), progress=False))
    second = toy_run(tmp_path / "run", tmp_path / "cache", steps=3)
    assert second.task.reader.tokenizer != first.task.reader.tokenizer
    second.start(True, {})
    assert second.task.reader.tokenizer == first.task.reader.tokenizer
    for mine, theirs in zip(second.task.held_out, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_variants_start_from_a_run(tmp_path):
    """All but projections: the encoder's weights and the tokenizer of a run that learned from single texts."""
    words = {"trigrams": 20, "vocabulary": 40}
    first = toy_run(tmp_path / "first", tmp_path / "cache", steps=3, task=words | {"drop": 0.3})
    drawn = first.task.model.query_tower.projection.weight.clone()
    first.start(False, {})
    first.train()
    start = str(tmp_path / "first")
    second = toy_run(tmp_path / "second", tmp_path / "other", variant="ade", start=start, task=words)
    assert not (tmp_path / "other").exists()
    assert second.task.reader.tokenizer == first.task.reader.tokenizer
    expected = first.task.model.query_tower.encoder.state_dict()
    for tower in (second.task.model.query_tower, second.task.model.document_tower):
        assert all(torch.equal(value, expected[name]) for name, value in tower.encoder.state_dict().items())
        assert not torch.equal(tower.projection.weight, drawn)  # which the start has learned with, of the same seed
    with pytest.raises(UserError, match=r"holds a run with another model.*task\.trigrams as there"):
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
    one.start(False, {})
    one.train()
    script = tmp_path / "two.py"
    script.write_text(f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}, {str(ROOT / "tests" / "experiments")!r}]
from pathlib import Path
from test_dual_encoder import toy_run
from experiments.engine.world import joined

with joined("cpu") as world:
    run = toy_run(Path({str(tmp_path)!r}) / "two", {str(tmp_path)!r}, dropout=0.0, batch=8, world=world)
    run.start(False, dict())
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
    found = one.task.evaluate()
    assert {*MEASURES} < {*found}
    assert {name: result[name] for name in found} == pytest.approx(found, rel=1e-6)
