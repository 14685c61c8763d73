"""Benchmarks of retrieval, in small files of the form that they are published in."""

import gzip
import json

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from test_conf import CONF

from experiments.data import Pair, beir, ms_marco, multi_reqa
from experiments.errors import UserError
from experiments.train import train


def write(path, rows):
    """Lines; of JSON where they are no texts; packed where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def marco(tmp_path):
    write(tmp_path / "collection.tsv", [f"{i}\tpassage {i} about \u2028 lines\rand 日本" for i in range(12)])
    write(tmp_path / "queries.train.tsv", [f"{100 + i}\ttrain query {i}" for i in range(6)])
    write(tmp_path / "qrels.train.tsv", [f"{100 + i}\t0\t{i}\t1" for i in range(6)])
    write(tmp_path / "queries.dev.small.tsv", [f"{200 + i}\tdev query {i}" for i in range(3)])
    write(tmp_path / "qrels.dev.small.tsv", ["200\t0\t6\t1", "200\t0\t7\t1", "201\t0\t8\t1", "202\t0\t9\t1"])
    return tmp_path


def test_ms_marco(marco):
    found = ms_marco(str(marco))
    passages = [f"passage {i} about \u2028 lines\rand 日本" for i in range(12)]
    assert {*found.train} == {Pair(f"train query {i}", passages[i]) for i in range(6)}
    judged = [("dev query 0", 6), ("dev query 0", 7), ("dev query 1", 8), ("dev query 2", 9)]
    assert found.held_out == [Pair(query, passages[i]) for query, i in judged]
    assert {*found.others} == {passages[i] for i in (0, 1, 2, 3, 4, 5, 10, 11)}
    few = ms_marco(str(marco), pairs=2, held_out=1, others=3)
    assert few.train == found.train[:2]
    assert len({pair.query for pair in few.held_out}) == 1 and {*few.held_out} <= {*found.held_out}
    assert len(few.others) == 3 and not {*few.others} & {pair.document for pair in few.held_out}
    write(marco / "collection.tsv.gz", (marco / "collection.tsv").read_bytes().decode().rstrip("\n").split("\n"))
    (marco / "collection.tsv").unlink()
    assert ms_marco(str(marco)) == found


@pytest.fixture
def fiqa(tmp_path):
    titles = ["Bonds", "", "Stocks", "Taxes", "Gold"]
    corpus = [{"_id": f"d{i}", "title": title, "text": f"text {i}", "metadata": {}} for i, title in enumerate(titles)]
    write(tmp_path / "fiqa" / "corpus.jsonl", [*corpus, {"_id": "d5", "title": "", "text": " "}])
    write(tmp_path / "fiqa" / "queries.jsonl", [{"_id": f"q{i}", "text": f"query {i}"} for i in range(4)])
    head = "query-id\tcorpus-id\tscore"
    write(tmp_path / "fiqa" / "qrels" / "test.tsv", [head, "q0\td0\t2", "q0\td1\t1", "q1\td2\t1", "q1\td3\t0"])
    write(tmp_path / "fiqa" / "qrels" / "train.tsv", [head, "q2\td3\t1", "q3\td4\t1"])
    return tmp_path / "fiqa"


def test_beir(fiqa):
    found = beir(str(fiqa))
    assert found.name == "BEIR's fiqa"
    assert {*found.train} == {Pair("query 2", "Taxes text 3"), Pair("query 3", "Gold text 4")}
    assert found.held_out == [
        Pair("query 0", "Bonds text 0", 2),
        Pair("query 0", "text 1", 1),
        Pair("query 1", "Stocks text 2", 1),
    ]
    assert {*found.others} == {"Taxes text 3", "Gold text 4"}  # d5 is empty
    (fiqa / "qrels" / "train.tsv").unlink()
    titled = [Pair("Bonds", "text 0"), Pair("Stocks", "text 2"), Pair("Taxes", "text 3"), Pair("Gold", "text 4")]
    assert {*beir(str(fiqa)).train} == {*titled}
    assert len(beir(str(fiqa), pairs=3).train) == 3


@pytest.fixture
def squad(tmp_path):
    """Passages with two questions, and sentences numbered as text: 10 comes before 2."""
    sentences = ["Norman came from Norse.", "They gave names.", *(f"Filler {i}." for i in range(9))]
    context = " ".join(sentences)
    starts = [context.index(sentence) for sentence in sentences]
    for part, first in (("train", "a"), ("dev", "b")):
        ids = [f"{first}1", f"{first}2"]
        candidates = [
            {
                "candidate_id": f"SQuAD_{'/'.join(ids)}/_{i}",
                "response_start": start,
                "response_end": start + len(sentences[i]),
            }
            for i, start in enumerate(starts)
        ]
        write(tmp_path / part / "SQuAD" / "candidates.json.gz", sorted(candidates, key=lambda c: c["candidate_id"]))
        spans = [[0, 5], [16, 21]], [[28, 31], [0, 30]]  # inclusive; the last one is in no sentence
        qas = [
            {
                "qid": qid,
                "question": f"question {qid}",
                "detected_answers": [{"text": "", "char_spans": [[*span]]} for span in own],
            }
            for qid, own in zip(ids, spans, strict=True)
        ]
        strange = {"context": "No candidates.", "qas": [{"qid": "x", "question": "?", "detected_answers": []}]}
        rows = [{"header": {"dataset": "SQuAD"}}, {"context": context, "qas": qas}, strange]
        write(tmp_path / part / "SQuAD.jsonl.gz", rows)
    return tmp_path, sentences


def test_multi_reqa(squad):
    root, sentences = squad
    found = multi_reqa(str(root))
    assert {*found.train} == {Pair("question a1", sentences[0]), Pair("question a2", sentences[1])}
    assert found.held_out == [Pair("question b1", sentences[0]), Pair("question b2", sentences[1])]
    assert {*sentences[2:]} <= {*found.others}
    assert len(found.others) == 11  # two sentences of the training part are there once more


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda root: (root / "collection.tsv").unlink(), r"collection.tsv is missing"),
        (
            lambda root: write(root / "qrels.train.tsv", ["100\t0\t1"]),
            r"line 1, has 3 columns where 4",
        ),
        (lambda root: write(root / "qrels.train.tsv", ["100\t0\t1\tx"]), r"grade that is no whole number, 'x'"),
        (lambda root: write(root / "qrels.train.tsv", ["100\t0\t99\t1"]), r"document 99 has a judgement but no text"),
        (lambda root: write(root / "qrels.train.tsv", ["999\t0\t1\t1"]), r"query 999 has a judgement but no text"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(damage, match, marco):
    damage(marco)
    with pytest.raises(UserError, match=match):
        ms_marco(str(marco))


def test_what_is_wrong_with_objects_and_sizes_is_said(fiqa):
    with pytest.raises(UserError, match=r"data\.pairs must be an integer of at least 1"):
        beir(str(fiqa), pairs=0)
    with pytest.raises(UserError, match=r"data\.root=None is no folder"):
        beir(None)
    write(fiqa / "queries.jsonl", [{"_id": "q0"}])
    with pytest.raises(UserError, match=r"queries\.jsonl, line 1, has no text"):
        beir(str(fiqa))
    write(fiqa / "queries.jsonl", ["{"])
    with pytest.raises(UserError, match=r"queries\.jsonl, line 1, is no JSON object"):
        beir(str(fiqa))


@pytest.mark.parametrize("data", ["ms_marco", "beir", "multi_reqa"])
def test_a_dual_encoder_trains_on_them(data, marco, fiqa, squad, tmp_path):
    roots = {"ms_marco": marco, "beir": fiqa, "multi_reqa": squad[0]}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["system=dual_encoder", "+tiny=dual_encoder", f"data={data}", f"data.root={roots[data]}", "device=cpu"]
        config = compose("train", [*fixed, f"run.dir={tmp_path / 'run'}", "run.batch=2", "data.held_out=2"])
    run = train(config)
    assert 0 < run.result["mrr"] <= 1
    assert len(run.task.judged.documents) > len(run.task.judged.pairs)
    task = instantiate(config.data)
    assert torch.equal(run.task.judged.grades, torch.tensor([pair.grade for pair in task.held_out]))
