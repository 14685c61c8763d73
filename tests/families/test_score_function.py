"""VarGrad and NVIL: what they are equal to, and what a normalised signal costs."""

import pytest
import torch
from catalogue import logits_of, table_function

import discretegrad as dg


def gradient(estimator, logits, indices, values):
    leaf = logits.detach().clone().requires_grad_()
    draw = dg.draw.given(leaf, indices, dg.latent.LATENTS[estimator.latent])
    return torch.autograd.grad(estimator.surrogate(draw, values).sum(), leaf)[0]


@pytest.mark.parametrize("points", [2, 3, 7])
def test_var_grad_is_the_derivative_of_half_the_sample_variance(points):
    """Of f plus log q, at f's values: by autograd. And it is leave-one-out, to the last bit."""
    logits = torch.randn(20, 3, 5, dtype=torch.float64)
    estimator = dg.VarGrad(points)
    indices = estimator.sample(logits).indices
    values = torch.randn(points, 20, dtype=torch.float64)
    leaf = logits.clone().requires_grad_()
    log_q = torch.distributions.Categorical(logits=leaf).log_prob(indices).sum(-1)
    moving = values + log_q - log_q.detach()
    (expected,) = torch.autograd.grad(moving.var(0).sum() / 2, leaf)
    got = gradient(estimator, logits, indices, values)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)
    assert torch.equal(got, gradient(dg.RLOO(points), logits, indices, values))


def test_var_grad_of_a_log_ratio_is_the_gradient_of_the_divergence():
    """f = log q - log p: the mean over all draws is the gradient of KL(q | p)."""
    logits = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    log_p = torch.randn(1, 4, dtype=torch.float64).log_softmax(-1)
    log_q = logits.log_softmax(-1)
    (expected,) = torch.autograd.grad((log_q.exp() * (log_q - log_p)).sum(), logits)

    def f(points):
        return (points * (log_q.detach() - log_p)).sum((-1, -2))

    got = dg.exact.moments(dg.VarGrad(3), f, logits).mean
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


def seen(baseline, values):
    """A baseline with one step behind it, at logits of zeros."""
    logits = torch.zeros(values.shape[1], 2, 3, dtype=torch.float64)
    baseline.update(dg.Reinforce().sample(logits), values)
    return baseline


def test_nvil_is_its_published_signal():
    """(f - network - mean) / max(1, std) with the moving averages of the steps before, by hand."""
    network = torch.nn.Linear(6, 1, dtype=torch.float64)
    estimator = dg.NVIL(dg.nn.NVILBaseline(network, decay=0.8), num_samples=2)
    (baseline,) = estimator.learners
    mean = variance = weight = 0.0
    for scale in (0.1, 5.0, 20.0):
        logits = torch.randn(30, 2, 3, dtype=torch.float64)
        draw = estimator.sample(logits)
        values = scale * torch.randn(2, 30, dtype=torch.float64) + 3
        predicted = network(logits.log_softmax(-1).flatten(1)).squeeze(-1).detach()
        corrected = (mean / weight, variance / weight) if weight else (0.0, 0.0)
        signal = (values - predicted - corrected[0]) / max(1.0, corrected[1] ** 0.5)
        got = gradient(estimator, logits, draw.indices, values)
        expected = gradient(dg.Reinforce(2), logits, draw.indices, signal)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)  # the averages are float32

        loss = baseline.loss(draw, values)
        torch.testing.assert_close(loss, (values - predicted - corrected[0]).square().mean(), rtol=1e-5, atol=0)
        assert torch.autograd.grad(loss, network.weight)[0].abs().sum() > 0
        baseline.update(draw, values)
        left = values - predicted
        mean = 0.8 * mean + 0.2 * float(left.mean())
        variance = 0.8 * variance + 0.2 * float(left.var(correction=0))
        weight = 0.8 * weight + 0.2
    assert float(baseline.scale()) > 5


def test_a_network_is_made_a_baseline():
    estimator = dg.NVIL(torch.nn.Linear(6, 1), normalise=False)
    assert estimator.unbiased
    assert not dg.NVIL(torch.nn.Linear(6, 1)).unbiased
    (baseline,) = estimator.learners
    assert isinstance(baseline, dg.nn.NVILBaseline)
    assert len(list(baseline.parameters())) == 2
    assert set(baseline.state_dict()) == {
        "spread",
        "running.mean",
        "running.weight",
        "learned.network.weight",
        "learned.network.bias",
    }
    assert dg.NVIL(dg.nn.RunningMean()).unbiased


def test_normalisation_divides_the_mean_gradient():
    """The bias is exactly the factor 1 / std, and there is none where values vary by less than one."""
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    expected = dg.exact.gradient(f, logits)
    wide = seen(dg.nn.NVILBaseline(), torch.tensor([[-4.0, 4.0]], dtype=torch.float64))
    mean = dg.exact.moments(dg.NVIL(wide), f, logits).mean
    torch.testing.assert_close(mean, expected / 4, rtol=1e-6, atol=1e-8)
    narrow = seen(dg.nn.NVILBaseline(), torch.tensor([[-0.5, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(dg.exact.moments(dg.NVIL(narrow), f, logits).mean, expected, rtol=1e-10, atol=1e-13)
    unscaled = seen(dg.nn.NVILBaseline(normalise=False), torch.tensor([[-4.0, 4.0]], dtype=torch.float64))
    torch.testing.assert_close(dg.exact.moments(dg.NVIL(unscaled), f, logits).mean, expected, rtol=1e-10, atol=1e-13)


def test_padding_does_not_reach_the_averages():
    baseline = dg.nn.NVILBaseline(decay=0.5)
    logits = torch.zeros(3, 2, 4, requires_grad=True)
    estimator = dg.NVIL(baseline)
    draw = estimator.sample(logits, mask=torch.tensor([True, True, False]).unsqueeze(-1))
    baseline.update(draw, torch.tensor([[2.0, 8.0, torch.nan]]))
    assert float(baseline.running.predict(torch.zeros(1, 3), draw, None)) == 5.0
    assert float(baseline.scale()) == 3.0


def test_nvil_learns_and_cuts_the_variance():
    """On values with an offset that the logits tell, the second moment of the gradient falls 10-fold."""
    torch.manual_seed(1)
    logits = torch.randn(64, 2, 3, dtype=torch.float64, requires_grad=True)
    offset = 10 + 5 * logits.detach()[:, 0, 0]
    estimator = dg.NVIL(torch.nn.Linear(6, 1, dtype=torch.float64), normalise=False)
    (baseline,) = estimator.learners
    optimizer = torch.optim.Adam(baseline.parameters(), 0.1)
    noise = []
    for _ in range(500):
        draw = estimator.sample(logits)
        values = draw.points[..., 0].sum(-1) + offset
        (one,) = torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)
        noise.append(float(one.square().sum()))
        optimizer.zero_grad()
        baseline.loss(draw, values).backward()
        optimizer.step()
        baseline.update(draw, values)
    assert sum(noise[-10:]) < 0.1 * sum(noise[:1]) * 10
