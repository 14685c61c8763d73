"""Knowledge prompts: what moves and what does not, gradients of codes and choices by enumeration, figures by hand."""

import itertools
import math
from functools import partial

import pytest
import torch
from hydra import compose, initialize_config_dir
from test_conf import CONF
from together import Both

import discretegrad as dg
from experiments.data.entity_facts import MASK, Corpus, EntityFact, EntityFacts, Mention, geonames_facts, wordnet_facts
from experiments.data.knowledge import Entity
from experiments.engine import Learning, Run, Settings, World
from experiments.engine.world import CPU
from experiments.errors import UserError
from experiments.parts.language_model import LanguageModel
from experiments.parts.text import Tokens
from experiments.systems.knowledge_prompts import CodesTask, LinkingTask, PromptsTask
from experiments.systems.knowledge_prompts.candidates import candidates
from experiments.systems.knowledge_prompts.linker import Linker
from experiments.systems.knowledge_prompts.memory import Prompts
from experiments.systems.knowledge_prompts.neighbours import chance, same_class
from experiments.systems.knowledge_prompts.questions import majority
from experiments.train import train

SIZES = {"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
ALONE = World()
EPSILON = 1e-20
"""Of Adam, which the sparse one adds elsewhere: small enough not to matter."""
WORDS = ("bank", "dog", "pitcher")
KINDS = ("slope", "institution", "animal", "sausage", "jug", "player")


def toy(cache, copies=1):
    """Three names, of two entities each, whose kinds differ."""
    entities = [Entity(kind, word) for word in WORDS * copies for kind in ("thing", "place")]
    learned = [EntityFact(n, "kind of", (KINDS[n % 6],), (KINDS[n % 6],)) for n in range(len(entities))]
    learned += [EntityFact(1, "part of", ("shore", "coast"), ("shore", "coast", "beach"))]
    held_out = [EntityFact(0, "part of", ("street",), ("street",))]
    mentions = [
        Mention(n, f"a {e.kind} like {n}", tuple(m for m, o in enumerate(entities) if o.name == e.name))
        for n, e in enumerate(entities)
    ]
    texts = ["a dog barks at the bank", "the pitcher is a thing"] * 4
    corpus = Corpus(texts, ["a place"], [], ["street shore coast beach", *KINDS] * 3, str(cache))
    return EntityFacts("toy", tuple(entities), tuple(learned), tuple(held_out), tuple(mentions), corpus)


def make(kind, cache, copies=1, sizes=SIZES, **arguments):
    torch.manual_seed(0)
    return kind(toy(cache, copies), partial(LanguageModel, sizes), vocabulary=200, length=20, answer=8, **arguments)


def run(task, folder, batch=4, world=ALONE, steps=3):
    settings = {"batch": batch, "seed": 0, "log_every": 1, "evaluate_every": 100, "evaluate_most": None}
    settings |= {"checkpoint_every": 100, "keep": (), "clip": None, "monitor_share": None, "progress": False}
    makers = {
        "optimizer": partial(torch.optim.Adam, lr=1e-2),
        "prompt_optimizer": partial(torch.optim.SparseAdam, lr=0.3, eps=EPSILON),
    }
    return Run(Learning(Settings(dir=str(folder), steps=steps, **settings), task, makers, None, world), {})


# The memory.


@pytest.mark.parametrize("kind", [PromptsTask, CodesTask])
def test_a_step_moves_looked_up_rows_alone(kind, tmp_path):
    """To the bit, with their moments; and those as Adam moves them in its first step."""
    arguments = {"estimator": dg.RLOO(2)} if kind is CodesTask else {}
    task = make(kind, tmp_path, copies=3, prompts=2, **arguments)
    learning = run(task, tmp_path / "run").learning
    table, before = task.memory.table.weight, task.memory.table.weight.detach().clone()
    frozen = {name: value.clone() for name, value in task.model.state_dict().items()}
    looked_up = task.batch(0).entities.unique()
    learning.backward(learning.forward(0), 0)
    gradient = table.grad.coalesce()
    assert torch.equal(gradient.indices()[0], looked_up)
    others = torch.ones(len(table), dtype=torch.bool).index_fill(0, looked_up, False)
    assert others.sum() > 10 and torch.equal(table[others], before[others])
    state = learning.optimizers["prompt_optimizer"].state[table]
    for moment in (state["exp_avg"], state["exp_avg_sq"]):
        assert not moment[others].any() and moment[looked_up].any()
    dense = before.clone().requires_grad_()
    dense.grad = table.grad.to_dense()
    torch.optim.Adam([dense], lr=0.3, eps=EPSILON).step()
    torch.testing.assert_close(table[looked_up], dense[looked_up])
    assert all(torch.equal(value, frozen[name]) for name, value in task.model.state_dict().items())


def test_two_processes_move_the_rows_of_both(tmp_path):
    """As one process does that takes both halves of the batch."""
    whole = run(make(PromptsTask, tmp_path, prompts=2), tmp_path / "one").learning
    whole.backward(whole.forward(0), 0)

    def half(world):
        learning = run(make(PromptsTask, tmp_path, prompts=2), tmp_path / "two", batch=2, world=world).learning
        learning.backward(learning.forward(0), 0)
        return learning.task.memory.table.weight

    first, second = Both()(half)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, whole.task.memory.table.weight, rtol=1e-4, atol=1e-5)


def test_prompts_of_others_and_of_all(tmp_path):
    task = make(PromptsTask, tmp_path)
    task.begin(run(task, tmp_path / "run").settings, ALONE)
    facts, entities = torch.tensor([0, 1, 6]), len(task.facts.entities)
    own, other = task.lookup("learned")(facts), task.lookup("learned", entities // 2)(facts)
    torch.testing.assert_close(own, task.memory(torch.tensor([0, 1, 1])))
    torch.testing.assert_close(other, task.memory(torch.tensor([3, 4, 4])))
    shared = make(PromptsTask, tmp_path, shared=True)
    assert len(shared.memory.table.weight) == 1
    assert not shared.rows(torch.tensor([0, 3])).any()


def test_a_memory_learns_its_facts(tmp_path):
    """With a model that has learned to say what stands before the question; and no prompts of others teach it that."""
    task = make(PromptsTask, tmp_path, prompts=2, sizes=SIZES | {"d_model": 32, "d_kv": 16, "d_ff": 32})
    started = run(task, tmp_path / "run", batch=8, steps=100)
    repeat_what_stands_before(task)
    started.start(False, {})
    before = task.evaluate()
    started.train()
    found = started.result
    assert found["em"] >= 0.8 and before["em"] <= 0.2
    assert found["em_other"] <= 0.2 and found["em_without"] == before["em_without"] <= 0.2
    assert found["train_loss"] <= 1.5  # log 2 of one fact out of seven that has two objects


def repeat_what_stands_before(task, steps=120):
    """Teach the language model to say the word whose first two tokens are its prompt."""
    model, questions, answers = task.model.requires_grad_(), task.column("learned"), task.column("answers")
    generator, optimizer = torch.Generator().manual_seed(0), torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        told = answers.take(torch.randint(len(answers.ids), (16,), generator=generator))
        asked = questions.take(torch.randint(len(questions.ids), (16,), generator=generator))
        encoded = model.encode(asked, model.network.get_input_embeddings()(told.ids[:, 1:3]))
        loss = -model.log_probability(encoded, told).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.requires_grad_(False)


# Codes.


def given(monkeypatch, estimator, ids):
    """Let an estimator draw these points `[S, B, *]`."""
    monkeypatch.setattr(
        type(estimator), "sample", lambda self, logits, *arguments: dg.functional.draw(logits, ids), raising=True
    )


def test_codes_have_the_gradient_of_the_mean_over_all_of_them(tmp_path, monkeypatch):
    """RLOO with two points, two facts of one entity, V = C = 2: all pairs of all codes of both, in all that learns."""
    estimator = dg.RLOO(2)
    task = make(CodesTask, tmp_path, estimator=estimator, prompts=2, categories=2).double()
    run(task, tmp_path / "run")
    facts = torch.tensor([1, 6])  # of entity 1
    batch = task.example(facts)
    with torch.no_grad():
        task.memory.table.weight.normal_(std=0.5)
    learning = [task.memory.table.weight, task.memory.codebooks]
    every = torch.tensor(list(itertools.product(range(2), repeat=2)))
    logits = task.memory.logits(batch.entities)  # [2, V, C]
    probs = torch.stack([log_prob(logits, code) for code in every]).exp()
    codes = every.unsqueeze(1).expand(-1, 2, -1)
    values = -task.log_probability(batch, task.memory.decode(codes))
    expected = torch.autograd.grad((probs * values).sum(0).mean(), learning)

    weights, mean = probs.detach(), [torch.zeros_like(parameter) for parameter in learning]
    torch.testing.assert_close(weights.sum(0), torch.ones(2, dtype=torch.float64))
    for choice in itertools.product(range(4), repeat=4):
        places = torch.tensor(choice).reshape(2, 2)  # [S, B]
        given(monkeypatch, estimator, every[places])
        loss = task(batch, None).loss
        probability = weights[places, torch.arange(2)].prod()
        for total, gradient in zip(mean, torch.autograd.grad(loss, learning), strict=True):
            total += probability * gradient.to_dense() if gradient.is_sparse else probability * gradient
    for found, wanted in zip(mean, expected, strict=True):
        wanted = wanted.to_dense() if wanted.is_sparse else wanted
        same(found, wanted)


def same(found, wanted):
    """Up to rounding in float32, in which T5 normalises whatever it is given."""
    largest = float(wanted.abs().max())
    assert largest > 1e-6
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6 * largest)


def log_prob(logits, code):
    """Of a code `[V]`, `[B]`."""
    return logits.log_softmax(-1)[:, torch.arange(len(code)), code].sum(-1)


def test_codes_by_ids_are_those_by_points(tmp_path):
    task = make(CodesTask, tmp_path, estimator=dg.RLOO(2), prompts=3, categories=4)
    ids = torch.randint(4, (5, 3))
    torch.testing.assert_close(task.memory.decode(ids), task.memory.decode(torch.nn.functional.one_hot(ids, 4).float()))
    served = task.memory(torch.tensor([2]))
    best = task.memory.table.weight[2].reshape(3, 4).argmax(-1)
    torch.testing.assert_close(served[0], torch.stack([task.memory.codebooks[v, c] for v, c in enumerate(best)]))
    assert task.memory.bytes == 6 / 8


# Which entity a name means.


def test_choices_have_the_gradient_of_the_mean_over_all_of_them(tmp_path, monkeypatch):
    """RLOO with two points, three candidates: all pairs of choices for two mentions, in all that the linker learns."""
    estimator = dg.RLOO(2)
    task = make(LinkingTask, tmp_path, estimator=estimator, candidates=3, prompts=2).double()
    run(task, tmp_path / "run", batch=2)
    monkeypatch.setattr(task, "said", lambda: task.column("contexts"))  # this model says nothing that is in a context
    batch = task.example(torch.tensor([0, 3]))
    learning = list(task.linker.parameters())
    logits, prompts = task.logits(batch.entities)
    every = torch.arange(3).reshape(3, 1, 1).expand(-1, 2, -1)
    probs = logits.squeeze(1).softmax(-1).T  # [3, B]
    expected = torch.autograd.grad((probs * task.nats(batch, prompts, every)).sum(0).mean(), learning)
    weights, mean = probs.detach(), [torch.zeros_like(parameter) for parameter in learning]
    for choice in itertools.product(range(3), repeat=4):
        places = torch.tensor(choice).reshape(2, 2)
        given(monkeypatch, estimator, places.unsqueeze(-1))
        gradients = torch.autograd.grad(task(batch, None).loss, learning)
        probability = weights[places, torch.arange(2)].prod()
        for total, gradient in zip(mean, gradients, strict=True):
            total += probability * gradient
    for found, wanted in zip(mean, expected, strict=True):
        same(found, wanted)
    points = torch.eye(3, dtype=torch.float64).reshape(3, 1, 1, 3).expand(-1, 2, -1, -1)
    torch.testing.assert_close(task.nats(batch, prompts, points), task.nats(batch, prompts, every))


def test_candidates_are_the_entities_of_the_name_and_the_likest_others(tmp_path):
    entities = tuple(Entity("k", name) for name in ("bank", "dogs", "bank", "dog", "banks", "bank", "zebra"))
    mentions = (Mention(2, "river", (0, 2, 5)), Mention(3, "barks", (3,)))
    facts = toy(tmp_path)._replace(entities=entities, mentions=mentions)
    found = candidates(facts, 4)
    assert found.entities[0].tolist() == [0, 2, 5, 4] and found.entities[1, :2].tolist() == [3, 1]
    assert (found.own.tolist(), found.senses.tolist()) == ([1, 0], [3, 1])
    assert all(len(set(row)) == 4 for row in found.entities.tolist())
    fewer = candidates(facts, 2)
    assert fewer.entities[0].tolist() == [0, 2] and fewer.senses.tolist() == [2, 1]


def test_contexts_and_answers_are_compared_by_rare_words_embeddings_and_names():
    """Against counts of words, written out."""
    linker, words = Linker(5), [[1, 2, 2], [3, 1]]
    contexts = Tokens(torch.tensor([[1, 2, 2], [3, 1, 0]]), torch.tensor([3, 2]), torch.arange(2))
    said = Tokens(torch.tensor([[2, 0], [1, 4], [3, 3], [4, 0]]), torch.tensor([1, 2, 2, 1]), torch.arange(4))
    linker.know(contexts, unread=[4])
    rarity = [math.log(3 / (1 + sum(token in text for text in words))) for token in range(5)]
    torch.testing.assert_close(linker.rarity, torch.tensor([*rarity[:4], 0.0]))
    torch.nn.init.normal_(linker.log_weights)
    torch.nn.init.normal_(linker.log_sharpness)
    weights = (linker.rarity * linker.log_weights.exp()).tolist()
    names, embedded = torch.rand(2, 2), torch.randn(5, 3)

    def bag(tokens):
        return torch.tensor([weights[token] * tokens.count(token) for token in range(5)])

    expected = torch.empty(2, 1, 2)
    for row, column in itertools.product(range(2), repeat=2):
        left, right = bag(words[row]), bag([[2], [1, 4], [3, 3], [4]][2 * row + column])
        alike = torch.cosine_similarity(left, right, 0), torch.cosine_similarity(left @ embedded, right @ embedded, 0)
        expected[row, 0, column] = torch.stack((*alike, names[row, column])) @ linker.log_sharpness.exp()
    found = linker(contexts, said, names, embedded)
    torch.testing.assert_close(found, expected)
    found.sum().backward()  # an answer without a word that counts has no gradient, and not NaN
    assert linker.log_weights.grad.isfinite().all() and linker.log_weights.grad.any()
    assert torch.equal(linker.untrained().log_weights, torch.zeros(5))


def test_judged_names_are_not_trained_on(tmp_path):
    task = make(LinkingTask, tmp_path, estimator=dg.RLOO(2), candidates=3, copies=1)
    run(task, tmp_path / "run", batch=2)
    judged = {task.facts.entities[n].name for n in task.choices.judged.nonzero().squeeze(1).tolist()}
    seen = {task.facts.entities[n].name for step in range(20) for n in task.batch(step).entities.tolist()}
    assert judged and not judged & seen and judged | seen == {*WORDS}


def test_two_processes_share_the_names_that_are_judged(tmp_path, monkeypatch):
    """And find what one does."""
    read, plain = [], LinkingTask.logits

    def counted(self, entities, linker=None):
        if linker is self.linker:
            read.append(len(entities))
        return plain(self, entities, linker)

    def judged(world):
        task = make(LinkingTask, tmp_path, estimator=dg.RLOO(2), candidates=3, copies=2)
        run(task, tmp_path / f"run{world.size}", batch=2, world=world)
        return task.eval().evaluate(None)

    monkeypatch.setattr(LinkingTask, "logits", counted)
    alone = judged(ALONE)
    [whole] = read
    read.clear()
    first, second = Both()(judged)
    assert first == second == alone and sum(read) == whole > len(read) - 1 == 1


# Figures.


def test_near_prompts_of_one_class_are_counted():
    torch.manual_seed(0)
    prompts, classes = torch.randn(12, 3), torch.randint(3, (12,))
    centred = prompts - prompts.mean(0)
    hits = 0
    for entity in range(12):
        others = [other for other in range(12) if other != entity]
        others.sort(key=lambda other: -float(torch.cosine_similarity(centred[entity], centred[other], 0)))
        hits += sum(int(classes[other] == classes[entity]) for other in others[:5])
    assert same_class(prompts, classes, torch.arange(12)) == pytest.approx(hits / 60)
    pairs = [int(classes[a] == classes[b]) for a, b in itertools.permutations(range(12), 2)]
    assert chance(classes) == pytest.approx(sum(pairs) / len(pairs))


def test_the_most_frequent_answer_is_a_baseline(tmp_path):
    learned = [EntityFact(n, "kind of", (name,), (name,)) for n, name in enumerate(("Dog", "a dog", "cat"))]
    asked = [*learned, EntityFact(3, "part of", ("dog",), ("dog",)), EntityFact(4, "kind of", ("x",), ("wolf", "dog"))]
    assert majority(asked, learned) == pytest.approx(3 / 5)
    task = make(PromptsTask, tmp_path)
    run(task, tmp_path / "run")
    chosen = torch.tensor([0, 1, 6])
    assert task.asked["learned"].macro(chosen, torch.tensor([True, False, True])) == pytest.approx((0.5 + 1) / 2)


# The data.


def test_facts_are_split_by_relation_and_the_text_does_not_have_them():
    facts = wordnet_facts(entities=60, judged=10)
    learned, held_out = ({(f.entity, f.relation) for f in part} for part in (facts.learned, facts.held_out))
    assert len(learned) == len(facts.learned) and held_out and not learned & held_out
    assert {entity for entity, _ in held_out} <= {entity for entity, _ in learned} == {*range(len(facts.entities))}
    assert all({*fact.objects} <= {*fact.right} and 1 <= len(fact.objects) <= 3 for fact in facts.learned)
    own = {mention.context for mention in facts.mentions}
    texts = [*facts.corpus.train, *facts.corpus.judged]
    assert len(own) > 50 and not any(text.split(": ", 1)[1] in own for text in texts)
    assert len(facts.corpus.judged) == 10 and len(texts) == len({*texts}) > 78_000
    named = {entity.name.lower() for entity in facts.entities}
    told = 0
    for text, said in facts.corpus.statements:
        name = said.removeprefix(MASK).strip()
        assert text.endswith(MASK) and name and name.lower() not in named
        assert text.split(", ")[0].lower() not in named
        told += f", {name}; " in text
    assert 0.4 < told / len(facts.corpus.statements) < 0.6
    for mention in facts.mentions:
        assert mention.entity in mention.senses and len(mention.senses) > 1
    more = wordnet_facts(entities=200, judged=10)
    assert more.entities[: len(facts.entities)] == facts.entities


def test_geonames_has_facts_about_cities_and_countries():
    facts = geonames_facts(entities=300, judged=10)
    assert len(facts.entities) == 300 and {entity.kind for entity in facts.entities} == {"city", "country"}
    assert {"located in", "timezone"} <= {fact.relation for fact in facts.learned} and facts.held_out
    assert not facts.mentions


# Refusals.


def configure(folder, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["+tiny=knowledge_prompts", "device=cpu", f"run.dir={folder / 'run'}", f"data.cache={folder}"]
        return compose("train", [*fixed, *overrides])


LINKING = ("experiment=knowledge_linking", "model.start=null", "run.steps=6")
CODES = ("experiment=knowledge_codes", "model.start=null", "run.steps=6")
PLAIN = ("system=knowledge_prompts",)


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ((*PLAIN, "task.prompts=0"), "task.prompts must be an integer of at least 1"),
        ((*PLAIN, "task.answer=0"), "task.answer must be an integer of at least 1"),
        ((*PLAIN, "task.shared=perhaps"), "task.shared is true or false, not 'perhaps'"),
        ((*PLAIN, "run.clip=1.0"), "run.clip needs the norm of dense gradients"),
        ((*PLAIN, "data.entities=1"), "data.entities must be an integer of at least 2"),
        ((*PLAIN, "data.held_out=1"), "data.held_out must be a number in"),
        ((*PLAIN, "data.judged=20000"), "data.judged=20000 is more than 10000"),
        ((*PLAIN, "data.most=0"), "data.most must be an integer of at least 1"),
        ((*PLAIN, "model.start=nowhere"), "model.start=nowhere holds no run"),
        ((*PLAIN, "model.sizes.model_type=bert"), "is nothing that bert has"),
        ((*CODES, "task.categories=1"), "task.categories must be an integer of at least 2"),
        (
            (*CODES, "estimator=vimco", "estimator.latent=categorical"),
            "VIMCO differentiates a multi-sample bound, where codes",
        ),
        ((*LINKING, "task.candidates=1"), "task.candidates must be an integer of at least 2"),
        ((*LINKING, "task.labels=yes"), "task.labels is true or false, not 'yes'"),
        ((*LINKING, "task.memory=nowhere"), "task.memory=nowhere holds no run"),
        ((*LINKING, "task.shared=true"), "task.shared=true has one prompt"),
        ((*LINKING, "data=geonames_facts", "data.entities=40"), "no name of GeoNames is ambiguous"),
    ],
)
def test_what_cannot_run_is_refused_before_any_work(overrides, match, tmp_path):
    with pytest.raises(UserError, match=match):
        train(configure(tmp_path, *overrides))
    assert not (tmp_path / "run").exists()


def test_prompts_of_other_entities_are_refused(tmp_path):
    own = configure(tmp_path, *PLAIN, "task.prompts=2", "run.steps=1")
    train(own)
    start = f"model.start={tmp_path / 'run'}"
    sizes = ("task.vocabulary=300", "task.length=32", f"run.dir={tmp_path / 'other'}", start)
    with pytest.raises(UserError, match=r"task.memory=.* holds 38 rows of 32 numbers, which are no prompts of the"):
        train(configure(tmp_path, *LINKING, *sizes, "data.entities=60"))
    found = train(configure(tmp_path, *LINKING, *sizes))
    assert isinstance(found.task.memory, Prompts) and found.task.memory.length == 2
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["task"]["memory.table.weight"]
    assert torch.equal(found.task.memory.table.weight, saved) and found.task.model.tokenizer
    assert found.world.device == CPU
