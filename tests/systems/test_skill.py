"""Paths: rewards by brute force, gradients by enumeration. Language models: what is left out, arms, answers."""

import collections
import itertools

import pytest
import torch
from test_every_system import configure
from test_questions import answers_by_hand

import discretegrad as dg
from experiments.data import geonames, wordnet_graph
from experiments.data.sentences import clozes
from experiments.errors import UserError
from experiments.train import build, train

SIZES = ["d_model=16", "d_kv=4", "d_ff=16", "num_layers=1", "num_decoder_layers=1", "num_heads=2"]
TINY = [f"model.sizes.{size}" for size in SIZES] + ["task.vocabulary=400", "data.cities=30", "run.progress=false"]
TINY += ["run.steps=4", "run.batch=8", "run.log_every=2", "run.evaluate_every=2", "device=cpu"]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return build(configure("skill", tmp_path_factory.mktemp("runs") / "run")).task


@pytest.fixture
def few(task):
    """Questions of one relation and of two."""
    groups = [group.hops for group in task.train_questions.groups]
    rows = [int((task.train_questions.group == groups.index(hops)).nonzero()[0]) for hops in (1, 2)]
    return task.train_questions.take(torch.tensor(rows))


def all_paths(count):
    return torch.cartesian_prod(*[torch.arange(9)] * 3).unsqueeze(1).expand(-1, count, -1)


@pytest.mark.parametrize(("reward", "stop"), [("f1", "stays"), ("exact", "stays"), ("f1", "ends")])
def test_paths_are_worth_what_their_answers_are(task, few, monkeypatch, reward, stop):
    monkeypatch.setattr(task, "reward", reward)
    monkeypatch.setattr(task, "stop", stop)
    paths = all_paths(2)[torch.randperm(729, generator=torch.Generator().manual_seed(0))[:60]]
    paths = torch.cat([paths, few.paths.unsqueeze(0)])  # the right ones
    knowledge, named = task.data.knowledge, few.named_answers(task.data.knowledge)
    found = task.rewarded(few, paths)
    for (sample, row), worth in zip(itertools.product(range(61), range(2)), found.flatten().tolist(), strict=True):
        path, start = paths[sample, row].tolist(), int(few.starts[row])
        path = path[: path.index(8)] if stop == "ends" and 8 in path else path
        reached = answers_by_hand(knowledge, start, path) - {knowledge.entities[start].name}
        answers = {*named[row]}
        f1 = 2 * len(reached & answers) / (len(reached) + len(answers))
        assert worth == pytest.approx(f1 if reward == "f1" else float(f1 == 1), abs=1e-6)
    assert (found[-1] == 1).all() and (found[:-1] == 0).any()


ESTIMATORS = [
    dg.Exact(),
    dg.RLOO(8),
    dg.DisARMTree(4),
    dg.Flow(dg.NearlyDistinct(4)),
    dg.UnorderedSet(8),
    dg.SumAndSample(4, 4),
    dg.LocalExpectation(1),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_the_gradient_is_that_of_the_mean_reward(task, few, estimator):
    """Of the mean over all 729 paths: exactly, or in the mean of many estimates, along itself. False alarm 1e-6 a case,
    and one that were a fifth too short or too long would be seen."""
    logits = torch.randn(2, 3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits = logits.scatter_add(-1, few.paths.unsqueeze(-1), torch.full((2, 3, 1), 2.0).double()).requires_grad_()
    paths = all_paths(2)
    log_probs = logits.log_softmax(-1).gather(-1, paths.movedim(0, -1)).movedim(-1, 0).sum(-1)
    [expected] = torch.autograd.grad((log_probs.exp() * task.rewarded(few, paths).double()).sum(), logits)
    if isinstance(estimator, dg.Exact):
        found = estimator(lambda ids: task.rewarded(few, ids).double(), logits, on="ids")
        [own] = torch.autograd.grad(found.sum(), logits)
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-12)
        return
    copies = 4_000 if isinstance(estimator, dg.UnorderedSet) else 12_000
    many = logits.detach().repeat(copies, 1, 1).requires_grad_()
    asked = few.take(torch.arange(2).repeat(copies))
    generator = torch.Generator().manual_seed(2)
    found = estimator(lambda ids: task.rewarded(asked, ids).double(), many, on="ids", generator=generator)
    [own] = torch.autograd.grad(found.sum(), many)
    along = (own.unflatten(0, (copies, 2)) * expected).flatten(1).sum(-1) / expected.square().sum()
    error = float(along.std()) / copies**0.5
    assert abs(float(along.mean()) - 1) < 5 * error < 0.1


def test_look_ups_are_counted(tmp_path):
    run = train(configure("skill", tmp_path / "run", "estimator.num_samples=3"))
    assert run.result["lookups"] == 6 * 8 * 3
    told = train(configure("skill", tmp_path / "told", "task.supervised=true"))
    assert told.result["lookups"] == 0 and told.result["train_loss"] > 0


def test_paths_that_are_told_are_learned(tmp_path):
    """From nothing to all of a few questions, which chance would not do."""
    fast = ["run.steps=150", "run.batch=32", "run.evaluate_every=150", "run.log_every=150", "optimizer.lr=1e-2"]
    run = train(configure("skill", tmp_path / "run", "task.supervised=true", "data.hops=[1]", *fast))
    assert run.result["held_out_1"] > 0.5


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task.reward=hits", "task.reward is one of f1, exact"),
        ("task.stop=never", "task.stop is one of stays, ends"),
        ("task.entropy=-1", "task.entropy must be a number"),
        ("task.supervised=1", "task.supervised is true or false"),
        ("estimator=straight_through", "paths are looked up"),
        ("estimator=vimco", "multi-sample bound, where paths"),
        ("data.split=rivers", "data.split is one of"),
        ("data.cities=0", "data.cities must be an integer"),
    ],
)
def test_what_does_not_fit_is_refused(override, said, tmp_path):
    with pytest.raises(UserError, match=said):
        build(configure("skill", tmp_path / "run", override))


def test_facts_lose_an_entity_and_never_their_relation():
    graph = geonames(20)
    without = clozes(graph, "triples", "<extra_id_0>")
    for (subject, relation, tail), head, end in zip(graph.triples, *without, strict=True):
        name = graph.relations[relation].replace("_", " ")
        subject, tail = graph.entities[subject].name, graph.entities[tail].name
        assert head == (f"<extra_id_0>, {name}, {tail}", subject, graph.relations[relation])
        assert end[:2] == (f"{subject}, {name}, <extra_id_0>", tail)
    said = clozes(graph, "sentences", "_")
    assert [(c.left_out, c.relation) for c in said[0]] == [(c.left_out, c.relation) for c in without[0]]
    assert all("_" in cloze.text and cloze.text.endswith(".") for column in said for cloze in column)
    with pytest.raises(UserError, match="for which there is no sentence"):
        clozes(wordnet_graph(), "sentences", "_")


def test_fewer_cities_are_within_more():
    fewer, more = geonames(20), geonames(40)
    said = [{(g.entities[s], r, g.entities[o]) for s, r, o in g.triples} for g in (fewer, more)]
    assert said[0] < said[1] and len(said[1] - said[0]) == 2 * 20


def language(experiment, folder, *overrides):
    return configure_experiment(experiment, f"run.dir={folder}", f"data.cache={folder}-cache", *TINY, *overrides)


def configure_experiment(experiment, *overrides):
    from hydra import compose, initialize_config_dir
    from test_conf import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"experiment={experiment}", *overrides])


@pytest.mark.parametrize("arm", ["text", "triples", "sentences"])
def test_half_of_a_batch_is_facts(arm, tmp_path):
    task = build(language("skill_pretraining", tmp_path / "run", f"arm={arm}", "task.texts=40")).task
    batch = task.batch(0)
    assert (len(batch.texts), len(batch.facts)) == ((8, 0) if arm == "text" else (4, 4))
    assert task(batch, torch.Generator().manual_seed(0)).loss > 0


def test_pretraining_goes_on(tmp_path):
    few = ["task.texts=40", "run.evaluate_most=20", "resume=auto"]
    whole = train(language("skill_pretraining", tmp_path / "whole", *few))
    assert 0 <= whole.result["known"] <= 1 and whole.result["held_out_loss"] > 0
    train(language("skill_pretraining", tmp_path / "part", *few, "run.steps=2"))
    resumed = train(language("skill_pretraining", tmp_path / "part", *few))
    for own, other in zip(whole.task.parameters(), resumed.task.parameters(), strict=True):
        assert torch.equal(own, other)


def test_answers_start_from_what_was_learned_and_are_judged_beside_the_majority(tmp_path):
    start = train(language("skill_pretraining", tmp_path / "start", "task.texts=40", "run.evaluate_most=20"))
    few = [f"model.start={tmp_path / 'start'}", "data.questions=4", "data.held_out=2", "data.hops=[1]"]
    run = build(language("skill_answers", tmp_path / "run", *few))
    for own, other in zip(run.task.model.parameters(), start.task.model.parameters(), strict=True):
        assert torch.equal(own, other)
    assert run.task.reader.tokenizer == start.task.reader.tokenizer
    run = train(language("skill_answers", tmp_path / "run", *few))
    result, measures = run.result, run.task.measures
    assert {"held_out_1", "reworded_1", "majority_1"} <= measures.keys()
    assert all(0 <= result[name] <= 1 for name in measures if name != "train_loss")
    by_hand = []
    judged, train_questions = run.task.data.held_out["held_out"], run.task.data.train
    for group in judged.groups:
        own = train_questions.take((train_questions.group == train_questions.groups.index(group)).nonzero().squeeze(-1))
        said = collections.Counter(name for names in own.named_answers(run.task.data.knowledge) for name in names)
        best = said.most_common(1)[0][0]
        asked = judged.take((judged.group == judged.groups.index(group)).nonzero().squeeze(-1))
        by_hand.append([best in names for names in asked.named_answers(run.task.data.knowledge)])
    shares = [sum(right) / len(right) for right in by_hand]
    assert result["majority_1"] == pytest.approx(sum(shares) / len(shares))


@pytest.mark.parametrize(
    ("experiment", "override", "said"),
    [
        ("skill_pretraining", "arm=poems", "task.arm is one of text, triples, sentences"),
        ("skill_answers", "model.start=nowhere", "model.start=nowhere holds no run"),
        ("skill_answers", "task.answer=0", "task.answer must be an integer"),
    ],
)
def test_what_does_not_fit_a_language_model_is_refused(experiment, override, said, tmp_path):
    with pytest.raises(UserError, match=said):
        build(language(experiment, tmp_path / "run", *([] if "start" in override else ["model.start=null"]), override))
