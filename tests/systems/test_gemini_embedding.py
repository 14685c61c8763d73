"""Gemini Embedding: the loss is its formula, negatives are brute force, tasks take turns, and runs start from runs."""

import math
import shutil
from functools import partial

import pytest
import torch
from test_dual_encoder import SIZES, toy
from test_every_system import configure
from test_retrieval import Rank, units

from experiments.data import Asked, Mixture, Pair, wordnet, wordnet_tasks, wordnet_titles
from experiments.engine import Learning, Run, Settings, World
from experiments.errors import UserError
from experiments.parts.contrastive import equal_texts, query_softmax
from experiments.parts.retrieval import Judged
from experiments.parts.text import Tokens
from experiments.systems.gemini_embedding import GeminiEmbedding, GeminiEmbeddingTask
from experiments.systems.gemini_embedding.judging import prefix
from experiments.systems.gemini_embedding.mining import first_rows, fused, mined, shared_tokens
from experiments.train import build, train

STILL = SIZES | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def two_tasks(cache):
    """The toy's words in the other language, and which of twelve colours comes first."""
    forth = toy(cache)
    first = [[Pair(pair.query, pair.query.split()[0]) for pair in part] for part in (forth.train, forth.held_out)]
    tasks = {"forth": Asked("forth", forth), "first": Asked("first", forth._replace(train=first[0], held_out=first[1]))}
    return Mixture("two toys", tasks, str(cache))


def toy_run(folder, cache, steps=6, mixture=None, start=None, seed=0, **task):
    settings = {"batch": 16, "log_every": 2, "evaluate_every": 4, "evaluate_most": 12, "checkpoint_every": 100}
    settings |= {"keep": (4,), "clip": None, "monitor_share": None, "progress": False, "seed": seed}
    torch.manual_seed(seed)
    model = partial(GeminiEmbedding, STILL, 8, start=start)
    task = GeminiEmbeddingTask(mixture or two_tasks(cache), model, **{"vocabulary": 300, "length": 8} | task)
    makers = {"optimizer": partial(torch.optim.AdamW, lr=1e-2)}
    return Run(Learning(Settings(dir=str(folder), steps=steps, **settings), task, makers, None, World()), {})


def trained(folder, cache, **others):
    run = toy_run(folder, cache, **others)
    run.start(False, {})
    run.train()
    return run


# The data.


@pytest.fixture(scope="module")
def tasks():
    return wordnet_tasks(pairs=400, held_out=200).tasks


def test_no_task_trains_on_a_held_out_noun(tasks):
    nouns = wordnet()
    judged, others = nouns.split()
    glosses = {nouns.synsets[number].gloss for number in judged}
    assert not glosses & {nouns.synsets[number].gloss for number in others}
    assert [*tasks] == ["definition", "kind", "example", "class"]
    for prompt, pairs in tasks.values():
        assert prompt and len(pairs.train) == 400 and len({pair.query for pair in pairs.held_out}) <= 200
        assert not {pair.query for pair in pairs.train} & {pair.query for pair in pairs.held_out}
        assert not {pair.query for pair in pairs.train} & glosses
    assert {pair.document for pair in tasks["class"].pairs.train} <= {s.lexname[5:] for s in nouns.synsets}
    assert not {pair.document for pair in tasks["example"].pairs.train} & glosses


def test_titles_stand_above_definitions():
    pairs = wordnet_titles(pairs=50, held_out=20)
    assert (len(pairs.train), len(pairs.held_out)) == (50, 20)
    assert wordnet_titles(pairs=20, held_out=20).train == pairs.train[:20]
    nouns = wordnet()
    expected = [nouns.synsets[number] for number in nouns.split()[1][:50]]
    for pair, synset in zip(pairs.train, expected, strict=True):
        assert pair.query.split(", ") == list(synset.lemmas)
        assert pair.document.split("; ") == [*synset.gloss.split("; "), *synset.examples]
    for match, counts in (("data.pairs=100000", (100_000,)), ("data.held_out=3001", (5, 3001))):
        with pytest.raises(UserError, match=match):
            wordnet_titles(*counts)


# The loss.


@pytest.mark.parametrize("hard", [False, True])
def test_the_loss_is_its_formula(hard):
    queries, documents, negatives = units(7, 5), units(7, 5), units(7, 5)
    equal = torch.rand(7, 7) < 0.3
    equal = (equal | equal.T).fill_diagonal_(False)
    expected = []
    for i in range(7):
        scores = [queries[i] @ documents[j] for j in range(7) if j == i or not equal[i, j]]
        scores += [queries[i] @ negatives[i]] if hard else []
        total = sum(math.exp(float(score) / 0.3) for score in scores)
        expected.append(math.log(total) - float(queries[i] @ documents[i]) / 0.3)
    found = query_softmax(queries, documents, equal, 0.3, negatives if hard else None)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_two_processes_have_the_loss_and_gradient_of_one():
    numbers = torch.tensor([[0, 1, 2, 0, 3, 4], [0, 1, 2, 3, 2, 4]])
    wholes = [*(units(6, 4).requires_grad_() for _ in range(3)), *numbers]
    whole = query_softmax(*wholes[:2], equal_texts(*numbers), 0.2, wholes[2])
    losses = []
    for rank in range(2):
        halves = [column[3 * rank : 3 * rank + 3] for column in wholes]
        world = Rank(rank, 2).with_parts(*(([half], all_) for half, all_ in zip(halves, wholes, strict=True)))
        losses.append(query_softmax(*halves[:2], equal_texts(*halves[3:], world), 0.2, halves[2], world))
    torch.testing.assert_close(torch.cat(losses), whole, rtol=1e-12, atol=0)
    found, expected = (
        torch.autograd.grad(loss, wholes[:3]) for loss in (torch.stack([a.mean() for a in losses]).mean(), whole.mean())
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_every_prefix_has_its_loss(tmp_path):
    task = toy_run(tmp_path / "run", tmp_path, prefixes=[2, 5, 8], cuts=[3]).task
    batch = task.batch(1)
    queries, documents = task.model(batch.queries), task.model(batch.documents)
    equal = equal_texts(batch.queries.text, batch.documents.text)
    losses = [
        query_softmax(
            *(torch.nn.functional.normalize(each[:, :size], dim=1) for each in (queries, documents)), equal, 0.05
        )
        for size in (2, 5, 8)
    ]
    found = task(batch, torch.Generator()).loss
    torch.testing.assert_close(found, torch.cat(losses).mean())
    assert torch.equal(prefix(queries, 8), queries)
    task.mask = False
    first = next(step for step in (0, 1) if task.batch(step).documents.text.unique().numel() < 16)  # of twelve colours
    unmasked = task(task.batch(first), torch.Generator()).loss
    task.mask = True
    assert unmasked > task(task.batch(first), torch.Generator()).loss


def test_tasks_take_turns_and_go_through_their_pairs(tmp_path):
    task = toy_run(tmp_path / "run", tmp_path).task
    columns = task.reader.columns
    seen = [[], []]
    for step in range(12):
        batch = task.batch(step)
        rows = [int(torch.equal(batch.documents.ids, columns[1].take(task.orders[0](step // 2)).ids)) for _ in (0,)]
        seen[1 - rows[0]].append(batch.queries.text)
        if step % 2:
            assert len(seen[0]) == len(seen[1])
    for found in seen:  # 108 pairs are six batches of 16 and a rest
        assert torch.cat(found).unique().numel() == 96


def test_only_queries_have_prompts(tmp_path):
    texts = toy_run(tmp_path / "run", tmp_path).task.reader._texts
    plain = toy_run(tmp_path / "run", tmp_path, prompts=False).task.reader._texts
    assert texts[0][0] == "forth: " + plain[0][0] and texts[6][0] == "first: " + plain[6][0]
    assert texts[1] == plain[1] and texts[7] == plain[7]


# What is found.


@pytest.mark.parametrize("keep", ["lowest", "nearest"])
def test_hard_negatives_are_brute_force(keep, monkeypatch):
    monkeypatch.setattr("experiments.systems.gemini_embedding.mining.CHUNK", 4)
    queries, documents = units(9, 3), units(12, 3)
    tokens = Tokens(torch.randint(1, 9, (12, 5)), torch.randint(1, 6, (12,)), torch.arange(12))
    pairs = [Pair(str(i % 9), str(j)) for i, j in enumerate(torch.randperm(12).repeat(2)[:18].tolist())]
    judged = Judged.of(pairs, [])
    judged = judged._replace(documents=[*judged.documents, *map(str, range(12 - len(judged.documents)))])
    answers = [judged.pairs[judged.pairs[:, 0] == i, 1].tolist() for i in range(9)]
    found = mined(queries, documents, tokens, judged, 4, keep)
    for i in range(9):
        others = [j for j in range(12) if j not in answers[i]]
        nearest = sorted(others, key=lambda j, i=i: -float(queries[i] @ documents[j]))[:4]
        words = [{*tokens.ids[j, : tokens.lengths[j]].tolist()} for j in range(12)]
        own = answers[i][0]

        def common(j, own=own, words=words):
            return sum(int(word) in words[own] for word in tokens.ids[j, : tokens.lengths[j]]) / int(tokens.lengths[j])

        likeness = [lambda j, own=own: float(documents[own] @ documents[j]), common]
        orders = [sorted(nearest, key=lambda j, f=f: -f(j)) for f in likeness]
        scores = {j: sum(1 / (61 + order.index(j)) for order in orders) for j in nearest}
        expected = min(nearest, key=scores.__getitem__) if keep == "lowest" else nearest[0]
        assert int(found[i]) == expected
        assert int(found[i]) not in answers[i]


def test_judgements_are_fused_by_ranks():
    found = fused(torch.tensor([[0.3, 0.1, 0.2]]), torch.tensor([[5.0, 9.0, 1.0]]))
    expected = torch.tensor([[1 / 61 + 1 / 62, 1 / 63 + 1 / 61, 1 / 62 + 1 / 63]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    tokens = Tokens(torch.tensor([[3, 4, 0], [3, 3, 5], [6, 0, 0]]), torch.tensor([2, 3, 1]), torch.arange(3))
    found = shared_tokens(tokens, torch.tensor([[1, 2]]), torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[2 / 3, 0.0]]))
    assert first_rows(torch.tensor([0, 1, 0, 2, 1])).tolist() == [0, 1, 3]


def test_a_query_that_everything_answers_has_no_negative():
    judged = Judged.of([Pair("a", "x"), Pair("a", "y")], [])
    tokens = Tokens(torch.ones(2, 1).long(), torch.ones(2).long(), torch.arange(2))
    with pytest.raises(UserError, match=r"is answered by all documents, .* leave task\.miner out"):
        mined(units(1, 3), units(2, 3), tokens, judged, 4, "lowest")


# Runs.


def test_training_finds_held_out_pairs_of_both_tasks(tmp_path):
    run = trained(tmp_path / "run", tmp_path, steps=100, prefixes=[4, 8], cuts=[4], temperature=0.1)
    assert run.result["mrr_forth"] > 0.5 and run.result["mrr_first"] > 0.8
    assert run.result["mrr"] == pytest.approx((run.result["mrr_forth"] + run.result["mrr_first"]) / 2)
    assert run.result["mrr_at_4"] > 0.4
    assert run.task.evaluate(10).keys() == run.task.evaluate().keys()


def test_negatives_are_mined_by_a_run_and_kept(tmp_path):
    """They answer nothing; a run goes on with its own, whatever has become of the miner."""
    miner = trained(tmp_path / "miner", tmp_path, steps=8)
    start = str(tmp_path / "miner")
    run = trained(tmp_path / "run", tmp_path, start=start, miner=start, steps=4)
    kept = [run.task.get_buffer(f"negatives_{task}").clone() for task in range(2)]
    for task, (_, pairs) in enumerate(run.task.mixture.tasks.values()):
        answers = {(pair.query, pair.document) for pair in pairs.train}
        for step in range(4):
            index = run.task.orders[task](step)
            batch = run.task._examples(task, index)
            rows = kept[task][batch.queries.text]
            assert torch.equal(batch.negatives.text, batch.negatives.text)
            for place, row in zip(index.tolist(), rows.tolist(), strict=True):
                assert (pairs.train[place].query, pairs.train[row].document) not in answers
    shutil.rmtree(tmp_path / "miner")
    trained(tmp_path / "other", tmp_path, steps=8, seed=1)
    shutil.copytree(tmp_path / "other", tmp_path / "miner")
    assert torch.load(tmp_path / "other" / "checkpoint.pt")["task"]["_extra_state"]["tokenizer"].numel() > 0
    second = toy_run(tmp_path / "run", tmp_path, start=start, miner=start, steps=6)
    anew = [second.task.get_buffer(f"negatives_{task}") for task in range(2)]
    assert not all(torch.equal(a, b) for a, b in zip(anew, kept, strict=True))
    second.start(True, {})
    for task in range(2):
        assert torch.equal(second.task.get_buffer(f"negatives_{task}"), kept[task])
    assert miner.task.reader.tokenizer == second.task.reader.tokenizer


def test_a_run_starts_from_a_run(tmp_path):
    first = trained(tmp_path / "first", tmp_path, mixture=toy(tmp_path))
    second = toy_run(tmp_path / "second", tmp_path / "nothing", start=str(tmp_path / "first"))
    assert not (tmp_path / "nothing").exists()
    assert second.task.reader.tokenizer == first.task.reader.tokenizer
    for mine, theirs in zip(second.task.model.parameters(), first.task.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(UserError, match=r"model\.start=.* holds a run with another model"):
        toy_run(tmp_path / "third", tmp_path, start=str(tmp_path / "first"), length=9)
    trained(tmp_path / "words", tmp_path, trigrams=20)
    with pytest.raises(UserError, match=r"task\.miner=.* another tokenizer; let both start from one run"):
        toy_run(tmp_path / "third", tmp_path, trigrams=None, miner=str(tmp_path / "words"))
    train(configure("dual_encoder", tmp_path / "dual", f"data.cache={tmp_path}"))
    with pytest.raises(UserError, match=r"model\.start=.* holds a run of another system"):
        toy_run(tmp_path / "third", tmp_path, start=str(tmp_path / "dual"))


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (("task.prefixes=[4,9]",), r"task\.prefixes=\[4, 9\] must be sizes up to model\.dimensions=8"),
        (("task.prefixes=[]",), r"task\.prefixes=\[\] must be sizes"),
        (("task.prefixes=[0]",), r"each of task\.prefixes must be an integer of at least 1"),
        (("task.cuts=[9]",), r"task\.cuts=\[9\] must be sizes"),
        (("task.temperature=0",), r"task\.temperature must be above 0"),
        (("task.keep=some",), "task.keep is lowest or nearest, not 'some'"),
        (("task.mask=perhaps",), "task.mask is true or false, not 'perhaps'"),
        (("task.neighbours=0",), r"task\.neighbours must be an integer"),
        (("task.miner=nowhere",), "task.miner=nowhere holds no run"),
        (("model.start=nowhere",), "model.start=nowhere holds no run"),
        (("model.start=nowhere", "model.pretrained=nobody/nothing"), "give one of them"),
        (("data.pairs=0",), r"data\.pairs must be an integer"),
        (("run.batch=61",), "task definition: run.batch=61 is more than the 60 training examples"),
    ],
)
def test_what_cannot_run_is_refused_before_any_work(overrides, match, tmp_path):
    with pytest.raises(UserError, match=match):
        build(configure("gemini_embedding", tmp_path / "run", f"data.cache={tmp_path}", *overrides))
    assert not (tmp_path / "run").exists()
