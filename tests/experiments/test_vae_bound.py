"""The multi-sample bound as one joint latent: exact in the mean, by enumeration, in every parameter."""

from functools import partial

import pytest
import torch
from outcomes import all_points, assert_exact, log_prob, mean_bound, mean_of_all, randomise
from test_conf import configure

import discretegrad as dg
from experiments.data.images import Images
from experiments.errors import UserError
from experiments.systems.vae import VAE, VAETask
from experiments.train import build, train

IMAGE = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)


def task_of(estimator, bound, inputs="points", variables=2):
    images = Images("three pixels", torch.tensor([[0.6, 0.2, 0.7]]), torch.zeros(1, 3), (1, 3))
    model = partial(VAE, variables=variables, categories=3, latent=estimator.latent, hidden=(2,), inputs=inputs)
    task = VAETask(images, model, estimator, binarised=False, bound=bound)
    randomise(task.model)
    return task


def laws(model):
    """`log q(z | x)` and `log p(x, z) - log q(z | x)` at all z, `[N]`."""
    points = all_points(model.latent, model.prior_logits.shape[0], 2 if model.latent == "bernoulli" else 3)
    log_q = log_prob(model.latent, points, model.posterior_logits(IMAGE.expand(1, -1)))
    pixels = model.decoder(2 * points.flatten(1) - 1)
    log_p = log_prob("bernoulli", IMAGE, pixels) + log_prob(model.latent, points, model.prior_logits)
    return log_q, log_p - log_q


def mean_gradients(monkeypatch, task):
    parameters = tuple(task.model.parameters())
    return mean_of_all(monkeypatch, lambda *of: task.estimate(*of)[0], IMAGE, parameters)


@pytest.mark.parametrize("bound", [1, 2])
@pytest.mark.parametrize(
    "estimator", [dg.RLOO(), dg.RLOO(latent="bernoulli"), dg.DisARMTree(), dg.DisARM(), dg.MuProp()], ids=str
)
def test_every_estimator_has_the_bound_s_gradient_in_the_mean(estimator, bound, monkeypatch):
    task = task_of(estimator, bound)
    expected = mean_bound(*laws(task.model), bound)
    mean, got = mean_gradients(monkeypatch, task)
    torch.testing.assert_close(mean, expected.detach(), rtol=1e-12, atol=0)
    assert_exact(got, torch.autograd.grad(expected, tuple(task.model.parameters())))


def test_log_q_without_its_own_gradient_is_biased(monkeypatch):
    """Negative control: right in the ELBO, wrong in a bound."""
    task = task_of(dg.RLOO(), 2)
    terms = task.model.terms
    monkeypatch.setattr(task.model, "terms", lambda *of, of_bound, **others: terms(*of, **others))
    expected = torch.autograd.grad(mean_bound(*laws(task.model), 2), tuple(task.model.parameters()))
    with pytest.raises(AssertionError):
        assert_exact(mean_gradients(monkeypatch, task)[1], expected)


def test_bounds_lie_in_order_between_the_elbo_and_the_likelihood(monkeypatch):
    means = []
    for bound in (None, 1, 2, 3):
        task = task_of(dg.DisARM(), bound)
        means.append(float(mean_gradients(monkeypatch, task)[0]))
    log_q, log_w = laws(task.model)
    elbo, same, two, three = means
    assert elbo == pytest.approx(same, rel=1e-12)
    assert elbo + 1e-3 < two < three < float((log_q + log_w).detach().logsumexp(0))


def test_a_decoder_of_ids_has_the_same_bound(monkeypatch):
    means = {}
    for inputs in ("points", "ids"):
        torch.manual_seed(0)
        images = Images("three pixels", torch.tensor([[0.6, 0.2, 0.7]]), torch.zeros(1, 3), (1, 3))
        model = partial(VAE, variables=2, categories=3, hidden=(2,), inputs=inputs)
        task = VAETask(images, model, dg.RLOO(), binarised=False, bound=2)
        task.model.double()
        means[inputs] = mean_gradients(monkeypatch, task)[0]
    torch.testing.assert_close(means["ids"], means["points"], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "choices",
    [
        ("estimator=rloo",),
        ("estimator=disarm", "model=bernoulli"),
        ("estimator=carms", "model.inputs=ids"),
        ("estimator=local_expectation",),
        ("estimator=nvil",),
        ("estimator=gumbel_softmax",),
        ("estimator=arsm_plus",),
    ],
    ids=str,
)
def test_a_bound_is_trained_on(choices, tmp_path):
    sizes = ("model.variables=2", *(() if "model=bernoulli" in choices else ("model.categories=3",)))
    run = train(configure("task.bound=3", "run.steps=2", *sizes, *choices, run_dir=tmp_path / "run"))
    assert run.result["train_elbo"] < 0


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (("task.bound=0",), r"task\.bound must be an integer of at least 1"),
        (("task.bound=2", "task.kl=closed"), r"task\.bound=2 differentiates a multi-sample bound.*task\.kl=sampled"),
        (("task.bound=2", "estimator=vimco"), r"VIMCO.* of its own.*leave task\.bound out"),
        (("estimator=vimco", "task.kl=closed"), r"VIMCO differentiates a multi-sample bound.*task\.kl=sampled"),
        (("task.bound=2", "run.monitor_share=0.1"), r"task\.bound=2.*leave run\.monitor_share out"),
    ],
)
def test_what_does_not_go_with_a_bound_is_refused(choices, words, tmp_path):
    with pytest.raises(UserError, match=words):
        build(configure(*choices, run_dir=tmp_path))
