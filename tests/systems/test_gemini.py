"""Gemini: the joint objective by enumeration, its terms by their definitions, stages, prompts, refusals."""

from functools import partial

import pytest
import torch
from outcomes import all_points, assert_exact, log_prob, mean_bound, mean_of_all, randomise
from test_every_system import configure

import discretegrad as dg
from experiments.data import digits
from experiments.data.captions import Captions
from experiments.engine import World
from experiments.errors import UserError
from experiments.systems.gemini import Gemini, estimation, judge, judging
from experiments.systems.gemini.estimation import CREDITS
from experiments.systems.gemini.language import CAPTION, EXAMPLE, IMAGE, WORDS, Language
from experiments.systems.gemini.model import Terms
from experiments.systems.gemini.stages import PASSES, Stages
from experiments.train import build, train

SHAPE, V, C, L = (4, 2), 2, 3, 2
IMAGE_OF_8 = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
SAID = torch.tensor([[1, 3]])
# All its arithmetic is in the parameters' own dtype, where Gemma's normalisation is in float32.
GPT2 = {"model_type": "gpt2", "n_embd": 4, "n_layer": 1, "n_head": 2, "attn_pdrop": 0.0, "embd_pdrop": 0.0}
GPT2 |= {"resid_pdrop": 0.0, "initializer_range": 0.5}
GEMMA = {"model_type": "gemma", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 4}
GEMMA |= {"num_key_value_heads": 1, "intermediate_size": 8}
CAPTIONS = Captions(torch.zeros(3, 2, dtype=torch.float64), ("cross", "ring"))


@pytest.fixture
def model(monkeypatch):
    """In float64, V = 2 tokens of C = 3 categories for images of 4 x 2 pixels, captions of two words."""
    monkeypatch.setattr(Captions, "slots", {"size": ("small", "large"), "class": ("cross", "ring")})
    torch.manual_seed(0)
    made = Gemini(torch.full((8,), 0.4), SHAPE, CAPTIONS, 2, GPT2, V, C, width=2, dimensions=2)
    randomise(made.tokenizer)
    return made.double()


def definition(model, captions):
    """`log q(z | x)` and `log p(x, z | caption) - log q(z | x)` at all z, `[N]`, one token after the other."""
    points = all_points("categorical", V, C)
    log_q = log_prob("categorical", points, model.posterior_logits(IMAGE_OF_8.expand(1, -1)))
    pixels = model.tokenizer.decode(torch.einsum("nvc,cd->nvd", points, model.tokenizer.codebook))
    log_p = log_prob("bernoulli", IMAGE_OF_8, pixels)
    first = WORDS + len(CAPTIONS.words)
    for n, ids in enumerate(points.argmax(-1)):
        for v in range(V):
            tokens = [EXAMPLE, CAPTION, *(captions[0] + WORDS).tolist(), IMAGE, *(ids[:v] + first).tolist()]
            said = said_after(model.language, tokens)
            log_p = log_p + torch.zeros(len(points)).double().index_fill(0, torch.tensor(n), 1) * said[first + ids[v]]
    return log_q, log_p - log_q


def said_after(language, tokens):
    """`log p` of the token after some, with the places of image tokens in the grid added one by one."""
    embedded, place = [], 0
    for token in tokens:
        vector = language.network.get_input_embeddings()(torch.tensor(token))
        embedded.append(vector + language.places[place] if token >= language.images else vector)
        place = place + 1 if token >= language.images else 0
    return language.network(inputs_embeds=torch.stack(embedded).unsqueeze(0)).logits[0, -1].log_softmax(-1)


def objective(model, estimator, credit, images, outcomes):
    captions = SAID.expand(len(images), -1)
    context = images.flatten(1)
    return estimation.joint(model, images, captions, estimator, credit, 1.0, context, outcomes).surrogate


def learned(model):
    """What the objective teaches: all but positions of GPT-2 that no stream here reaches."""
    return [*model.tokenizer.parameters(), *model.language.parameters()]


def quadratic():
    return dg.Reinforce(baseline=dg.nn.QuadraticControlVariate((V, C), rank=2).double())


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize(
    "estimator",
    [dg.RLOO(2), dg.VarGrad(2), dg.DisARMTree(), dg.DisARMSB(), dg.DisARMIW("ascending"), dg.Flow()],
    ids=str,
)
def test_every_credit_has_the_objective_s_gradient_in_the_mean(model, estimator, credit, monkeypatch):
    """In every parameter, by enumeration of all draws; the truth is written down token by token."""
    expected = mean_bound(*definition(model, SAID), 1)
    mean, got = mean_of_all(monkeypatch, partial(objective, model, estimator, credit), IMAGE_OF_8, learned(model))
    torch.testing.assert_close(mean, expected.detach(), rtol=1e-12, atol=0)
    assert_exact(got, torch.autograd.grad(expected, learned(model)))


@pytest.mark.parametrize("make", [dg.MuProp, dg.DoubleCV, quadratic], ids=lambda make: make.__name__)
def test_what_needs_the_gradient_of_f_gets_one_between_the_tokens(model, make, monkeypatch):
    expected = mean_bound(*definition(model, SAID), 1)
    estimate = partial(objective, model, make(), "whole")
    _, got = mean_of_all(monkeypatch, estimate, IMAGE_OF_8, learned(model))
    assert_exact(got, torch.autograd.grad(expected, learned(model)))


@pytest.mark.parametrize("wrong", ["a token's own prior", "the priors of those behind it"])
def test_a_credit_that_leaves_out_what_a_token_has_a_part_in_is_biased(model, wrong, monkeypatch):
    def values(terms: Terms, credit: str):
        prior = terms.log_prior
        behind = prior.flip(-1).cumsum(-1).flip(-1)
        kept = behind - prior if wrong == "a token's own prior" else prior
        return terms.log_likelihood.unsqueeze(-1) + kept - terms.log_posterior

    monkeypatch.setattr(estimation, "values", values)
    expected = mean_bound(*definition(model, SAID), 1)
    _, got = mean_of_all(monkeypatch, partial(objective, model, dg.RLOO(2), "own"), IMAGE_OF_8, learned(model))
    with pytest.raises(AssertionError):
        assert_exact(got, torch.autograd.grad(expected, learned(model)))


def test_a_discrete_vae_has_the_gradient_of_its_own_bound(model, monkeypatch):
    """The first of two stages: a uniform prior, in closed form."""
    log_q, log_w = definition(model, SAID)
    points = all_points("categorical", V, C)
    pixels = model.pixel_logits(points.argmax(-1).unsqueeze(0))[0]
    log_w = log_prob("bernoulli", IMAGE_OF_8, pixels) - V * torch.tensor(float(C)).log() - log_q
    parameters = list(model.tokenizer.parameters())
    expected = mean_bound(log_q, log_w, 1)

    def estimate(images, outcomes):
        return estimation.alone(model, images, dg.DisARMTree(), 1.0, images, outcomes).surrogate

    mean, got = mean_of_all(monkeypatch, estimate, IMAGE_OF_8, parameters)
    torch.testing.assert_close(mean, expected.detach(), rtol=1e-6, atol=0)  # log C in float32 above
    assert_exact(got, torch.autograd.grad(expected, parameters))


def test_a_vq_vae_takes_the_nearest_codewords_and_copies_their_gradient(model):
    """Each of the three terms by itself."""
    images = IMAGE_OF_8.expand(1, -1)
    vectors = model.tokenizer.encode(images)
    nearest = torch.cdist(vectors, model.tokenizer.codebook.expand(1, -1, -1)).argmin(-1)
    codewords = model.tokenizer.codebook[nearest]
    pixels = model.tokenizer.decode(codewords)
    likelihood = log_prob("bernoulli", IMAGE_OF_8, pixels[0])
    distance = (vectors - codewords).square().sum()
    found, ids = estimation.nearest(model, images, 0.25)
    assert torch.equal(ids, nearest)
    torch.testing.assert_close(found[0], 1.25 * distance - likelihood, rtol=1e-12, atol=0)
    wanted_of_code = torch.autograd.grad(distance, codewords, retain_graph=True)[0]
    onto = torch.autograd.grad(distance, vectors, retain_graph=True)[0]
    copied = torch.autograd.grad(-likelihood, codewords, retain_graph=True)[0]
    encoder = list(model.tokenizer.encoder.parameters())
    expected = torch.autograd.grad(vectors, encoder, copied + 0.25 * onto, retain_graph=True)
    codebook = torch.zeros_like(model.tokenizer.codebook).index_add(0, nearest[0], wanted_of_code[0])
    got = torch.autograd.grad(found.sum(), [*encoder, model.tokenizer.codebook])
    for one, other in zip(got, [*expected, codebook], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("sizes", [GPT2, GEMMA], ids=["gpt2", "gemma"])
def test_ids_and_one_hots_are_the_same_to_the_language_model(sizes):
    torch.manual_seed(0)
    language = Language(sizes, 5, L, 4, C, 2)
    ids, captions = torch.randint(C, (2, 3, 4)), torch.randint(5, (3, L))
    points = torch.nn.functional.one_hot(ids, C).float()
    torch.testing.assert_close(language.log_prob(captions, ids), language.log_prob(captions, points))


def test_streams_are_what_they_should_be_token_by_token():
    """Two streams, of captions first and of images first; the fifth example is left out."""
    torch.manual_seed(0)
    language = Language(GPT2, 5, L, 3, C, 2)
    captions, ids = torch.randint(5, (5, L)), torch.randint(C, (5, 3))
    words, tokens = (captions + WORDS).tolist(), (ids + WORDS + 5).tolist()
    written = [[EXAMPLE, CAPTION, *words[n], IMAGE, *tokens[n]] for n in (0, 1)]
    written += [[EXAMPLE, IMAGE, *tokens[n], CAPTION, *words[n]] for n in (2, 3)]
    total = 0.0
    for stream in (written[0] + written[1], written[2] + written[3]):
        for place in range(1, len(stream)):
            if stream[place] >= WORDS:
                total -= said_after(language, stream[:place])[stream[place]]
    torch.testing.assert_close(language.streams(captions, ids), total / 4)


def test_what_is_written_is_of_its_kind_and_the_likeliest():
    torch.manual_seed(0)
    language = Language(GEMMA, 5, L, 3, C, 2)
    start = language.image_first(torch.randint(C, (4, 3)))
    words = language.write(start)
    assert words.shape == (4, L) and int(words.max()) < 5
    for place in range(L):
        seen = torch.cat((start, words[:, :place] + WORDS), 1)
        expected = [int(said_after(language, row.tolist())[WORDS : WORDS + 5].argmax()) for row in seen]
        assert words[:, place].tolist() == expected
    drawn = language.write(language.caption_first(words), torch.Generator().manual_seed(0))
    assert drawn.shape == (4, 3) and 0 <= int(drawn.min()) <= int(drawn.max()) < C


def test_images_that_are_drawn_have_the_language_model_s_law():
    """Chi-square over all 27 images of three tokens, drawn among image tokens alone; false alarm 1e-6."""
    torch.manual_seed(0)
    language = Language(GPT2, 5, L, 3, C, 2)
    caption, count = torch.tensor([[1, 3]]), 20_000
    every = torch.cartesian_prod(*[torch.arange(C)] * 3)
    given = torch.stack([_given(language, caption, ids) for ids in every]).double()
    torch.testing.assert_close(given.sum(), torch.ones((), dtype=torch.float64))
    drawn = language.write(language.caption_first(caption.expand(count, -1)), torch.Generator().manual_seed(0))
    counts = (drawn @ torch.tensor([9, 3, 1])).bincount(minlength=27)
    statistic = float(((counts - count * given).square() / (count * given)).sum())
    assert statistic < 75.6  # the upper 1e-6 quantile of chi-square with 26 degrees of freedom


def _given(language, caption, ids):
    """The probability of tokens, each among image tokens alone."""
    tokens, total = language.caption_first(caption), torch.ones(())
    for own in ids:
        said = said_after(language, tokens[0].tolist())[language.images :].detach()
        total = total * said.softmax(-1)[own]
        tokens = torch.cat((tokens, (own + language.images).reshape(1, 1)), 1)
    return total


@pytest.mark.parametrize("posterior", ["sampled", "nearest"])
@pytest.mark.parametrize("first", [None, 2])
def test_passes_are_counted_as_they_are(posterior, first, tmp_path, monkeypatch):
    """What goes through each network in training, against the arithmetic of the columns."""
    choices = [f"model.posterior={posterior}", f"task.tokenizer_steps={first or 'null'}", "run.steps=4"]
    run = build(configure("gemini", tmp_path / "run", *choices, "run.batch=9", "estimator.num_pairs=2"))
    counted = dict.fromkeys(PASSES, 0)
    tokenizer, language = run.task.model.tokenizer, run.task.model.language

    def counting(module, method, name, images):
        plain = getattr(module, method)

        def count(given, *others):
            counted[name] += images(given)
            return plain(given, *others)

        monkeypatch.setattr(module, method, count)

    counting(tokenizer, "encode", "encoder_passes", len)
    counting(tokenizer, "decode", "decoder_passes", lambda codewords: codewords.flatten(0, -3).shape[0])
    counting(language, "logits", "language_passes", lambda e: e.shape[0] * ((e.shape[1] + 1) // language.length or 1))
    for step in range(4):
        run.train_step()
        assert counted == {name: run.task.noted()[name] for name in PASSES}, step


def test_stages_follow_their_steps():
    stages = Stages(10, True, 4, 5)
    assert [stages.learning(step) for step in (0, 9, 10)] == [(True, False), (True, False), (False, True)]
    assert Stages(None, True, 4, 0).learning(7) == (True, True)
    assert [stages.weight(step) for step in (0, 2, 5, 9)] == [0, 0.4, 1, 1]
    stages, gumbel = stages._replace(temperature_end=0.25), dg.GumbelSoftmax(1.0)
    assert [stages.annealed(gumbel, step).temperature for step in (0, 5, 20)] == pytest.approx([1, 0.5, 0.25])


def test_the_second_stage_leaves_the_tokenizer_as_it_is(tmp_path):
    choices = ["estimator=gumbel_softmax", "task.tokenizer_steps=2", "task.temperature_end=0.1"]
    run = build(configure("gemini", tmp_path / "run", *choices))
    before = [{n: p.clone() for n, p in part.named_parameters()} for part in run.task.model.children()]
    for step in range(4):
        run.train_step()
        now = [{n: p.clone() for n, p in part.named_parameters()} for part in run.task.model.children()]
        moved = [any(not torch.equal(old[n], new[n]) for n in old) for old, new in zip(before, now, strict=True)]
        assert moved == ([True, False] if step < 2 else [False, True])
        before = now


def test_a_prompt_holds_all_but_its_answer(tmp_path, monkeypatch):
    run = build(configure("gemini", tmp_path / "run", "task.examples=3"))
    task, seen = run.task.eval(), []
    plain = task.model.language.write
    monkeypatch.setattr(
        task.model.language, "write", lambda tokens, *others: seen.append(tokens) or plain(tokens, *others)
    )
    prompts = judging.prompts_of(len(task.images.test), 3, 4)
    assert all(len(set(row.tolist())) == 3 for row in prompts)
    ids, *_ = judging.answers(task, prompts, torch.Generator().manual_seed(0))
    language, captions = task.model.language, task.get_buffer("test_captions")
    for row, reading, drawing in zip(range(4), *seen, strict=True):
        words = (captions[prompts[row]] + WORDS).tolist()
        tokens = (ids[row] + language.images).tolist()
        shown = [[EXAMPLE, IMAGE, *tokens[n], CAPTION, *words[n]] for n in range(3)]
        assert reading.tolist() == [token for one in shown for token in one][: -language.slots]
        shown = [[EXAMPLE, CAPTION, *words[n], IMAGE, *tokens[n]] for n in range(3)]
        assert drawing.tolist() == [token for one in shown for token in one][: -language.variables]


def test_figures_are_those_of_a_posterior_that_is_known(tmp_path):
    """By the definitions; a bound of equal points is the ELBO."""
    run = build(configure("gemini", tmp_path / "run", "model.posterior=nearest", "task.binarised=false"))
    task = run.task.eval().requires_grad_(False)
    found = judging.judge(task, 20)
    assert found["test_bound"] == pytest.approx(found["test_elbo"], rel=1e-6)
    images = task.images.test[:: len(task.images.test) // 20][:20]
    captions = task.get_buffer("test_captions")[:: len(task.images.test) // 20][:20]
    ids = task.model.posterior_logits(images).argmax(-1)
    rate = -task.model.language.log_prob(captions, ids.unsqueeze(0))[0].sum(-1).mean()
    assert found["test_rate"] == pytest.approx(float(rate), rel=1e-5)
    likelihood = task.model.log_likelihood(images, ids.unsqueeze(0)).mean()
    assert found["test_elbo"] == pytest.approx(float(likelihood - rate), rel=1e-5)
    shares = ids.flatten().bincount(minlength=4).double() / ids.numel()
    assert found["tokens_used"] == pytest.approx(float((-torch.xlogy(shares, shares).sum()).exp()), rel=1e-9)
    read = judging.captions_read(task, ids)
    assert found["read_caption"] == pytest.approx(float((read == captions).all(1).double().mean()))


def test_the_judge_learns_is_kept_and_is_right_about_other_images(tmp_path, monkeypatch):
    images, calls = digits(labels=True), []
    plain = judge._train
    monkeypatch.setattr(judge, "_train", lambda *of: calls.append(of) or plain(*of))
    made = [judge.trained_judge(images, 100, str(tmp_path), World()) for _ in range(2)]
    assert len(calls) == 1
    assert made[0].accuracy > 0.6  # a tenth by chance
    torch.testing.assert_close(*[each.state_dict() for each in made], rtol=0, atol=0)
    judge.trained_judge(images._replace(train=1 - images.train), 1, str(tmp_path), World())
    assert len(calls) == 2


def test_a_model_that_sees_ahead_is_refused():
    sizes = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(UserError, match=r"model_type=bert sees tokens before it predicts them"):
        Language(sizes | {"intermediate_size": 8}, 5, L, 3, C, 2)
    with pytest.raises(UserError, match=r"model_type=t5 is no language model"):
        Language({"model_type": "t5"}, 5, L, 3, C, 2)


def test_a_run_that_was_judged_goes_on(tmp_path):
    """The judge is no part of its checkpoint; counts of passes go on too."""
    choices = ["run.evaluate_every=2", "run.checkpoint_every=1"]
    train(configure("gemini", tmp_path / "run", *choices, "run.steps=3"))
    run = train(configure("gemini", tmp_path / "run", *choices, "run.steps=5", "resume=true"))
    assert [row["encoder_passes"] for row in run.record.rows] == [20, 40, 50]
    assert not any("judge" in name for name in run.task.state_dict())


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        (["model.variables=5"], r"no grid of images of 8 x 8 pixels; give one of 16, 4, 1"),
        (["model.posterior=soft"], r"model\.posterior is sampled or nearest"),
        (["model.language.model_type=nothing"], r"model\.language\.model_type=nothing is no architecture"),
        (["+model.language.depth=3"], r"model\.language\.depth is nothing that gemma has"),
        (["task.credit=some"], r"task\.credit is whole, later or own"),
        (["task.credit=own", "estimator=gumbel_softmax"], r"takes one value for all tokens"),
        (["estimator=vimco"], r"differentiates a multi-sample bound"),
        (["estimator=disarm"], r"is for bernoulli latents"),
        (["task.temperature_end=0.1"], r"task\.temperature_end is of an estimator with a temperature"),
        (["task.examples=11"], r"more than run\.batch=10"),
        (["data.labels=false"], r"give data\.labels=true"),
        (["task.tokenizer_steps=0"], r"task\.tokenizer_steps must be an integer of at least 1"),
        (["task.tokenizer_steps=3", "run.monitor_share=0.1"], r"leave run\.monitor_share out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_refused(choices, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        build(configure("gemini", tmp_path / "run", *choices))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "choices",
    [
        ["model.posterior=nearest", "task.tokenizer_steps=3"],
        ["estimator=gumbel_softmax", "task.tokenizer_steps=3", "task.temperature_end=0.1"],
        ["task.credit=own", "estimator=flow", "task.warmup_steps=3"],
        ["estimator=reinforce_quadratic", "task.judge_steps=0"],
    ],
    ids=" ".join,
)
def test_every_way_trains(choices, tmp_path):
    run = train(configure("gemini", tmp_path / "run", *choices))
    assert run.step == 6
    assert run.result["test_elbo"] <= run.result["test_bound"] + 1e-4
