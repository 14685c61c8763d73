"""Known-wrong estimators, some from published code, must fail the tests that the right ones pass."""

from dataclasses import dataclass

import pytest
import torch
from catalogue import logits_of, table_function

import discretegrad as dg
from discretegrad.control_variate import Residual
from discretegrad.ops.score import score


def bias(estimator, categories=4, logits=None, f=None):
    f = table_function(2, categories) if f is None else f
    logits = logits_of("ordinary", 2, categories) if logits is None else logits
    truth = dg.exact.gradient(f, logits, estimator.latent)
    return float((dg.exact.moments(estimator, f, logits).mean - truth).norm() / truth.norm())


class Unrefused(dg.LeaveOneOut):
    """Leave-one-out where it does not belong."""

    def refuse(self, coupling):
        pass


class AnyCoupling(dg.Importance):
    """Importance weights where pairs are missing."""

    def refuse(self, coupling):
        pass


class UnrefusedScore(dg.Score):
    """Leave-one-out centring without its softmax term, though the values are not centred."""

    def gradient(self, drawn, values, centred=False):
        return super().gradient(drawn, values, centred=True)


class NoShare(dg.RaoBlackwell):
    """The coupling's weight lost, as by a cast of a boolean: s = 1."""

    def gradient(self, drawn, values, centred=False):
        half = (values[0] - values[1]) / 2
        return dg.ops.score.scatter(drawn.indices, torch.stack((half, -half)), drawn.logits.shape[-1])


class UpdatedBeforeUse(dg.nn.RunningMean):
    """A running mean that has already seen the value it is subtracted from."""

    def subtract_from(self, evaluation):
        values = evaluation.values
        return Residual(values - (self.decay * 1.3 + (1 - self.decay) * values))


@dataclass(frozen=True)
class WrongOrder(dg.Tree):
    """A tree that depends on the noise: the weights of one tree on the points of another."""

    def law(self, logits):
        return dg.Tree(order="descending").law(logits)


WRONG = {
    "leave-one-out on antithetic points": lambda: dg.Composition(dg.Tree(), dg.Score(), Unrefused()),
    "leave-one-out on antithetic sticks": lambda: dg.Composition(dg.StickBreaking(), dg.Score(), Unrefused()),
    "leave-one-out on antithetic bits": lambda: dg.Composition(dg.Antithetic(), dg.Score(), Unrefused(), "bernoulli"),
    "importance weights on a balanced tree": lambda: dg.Composition(dg.Tree(order="ascending"), AnyCoupling()),
    "softmax term dropped without a baseline": lambda: dg.Composition(dg.Independent(2), UnrefusedScore()),
    "coupling weight lost": lambda: dg.Composition(dg.Tree(), NoShare()),
    "coupling weight lost on bits": lambda: dg.Composition(dg.Antithetic(), NoShare(), latent="bernoulli"),
    "tree that depends on the noise": lambda: dg.Composition(WrongOrder(), dg.RaoBlackwell()),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_known_wrong_estimators_fail(name):
    estimator = WRONG[name]()
    logits = torch.tensor([0.8, -0.4], dtype=torch.float64) if estimator.latent == "bernoulli" else None
    assert bias(estimator, 2 if estimator.latent == "bernoulli" else 4, logits) > 0.01


def test_importance_weights_on_unsorted_logits_fail():
    """As soon as one stick takes more than half (found in published code)."""
    logits = torch.tensor([[1.5, 0.0, -0.5, 0.3], [0.2, 0.1, 0.0, -0.1]], dtype=torch.float64)
    assert bias(dg.DisARMIW(order=None), logits=logits) > 0.05
    assert bias(dg.DisARMIW(order="ascending"), logits=logits) < 1e-10


def test_a_baseline_updated_before_use_is_biased_by_one_minus_decay():
    estimator = dg.Composition(dg.Independent(1), dg.Score(), UpdatedBeforeUse(0.95))
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    truth = dg.exact.gradient(f, logits)
    mean = dg.exact.moments(estimator, f, logits).mean
    torch.testing.assert_close(mean, 0.95 * truth, rtol=1e-10, atol=1e-13)


def test_a_baseline_used_before_update_is_not():
    """The same running mean in its legal place: whatever it holds, no bias."""
    baseline = dg.nn.RunningMean(0.95)
    baseline.update(dg.Reinforce().sample(torch.zeros(2, 2)), torch.tensor([[1.3, 40.0]]))
    assert bias(dg.Reinforce(baseline=baseline)) < 1e-10


def test_noise_in_f_s_own_parameters_would_be_seen():
    """The leakage test can fail: a surrogate whose value hides the score term sends noise into the decoder."""
    logits = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    draw = dg.RLOO().sample(logits)
    values = (draw.points * weight).sum((-1, -2))
    log_prob = dg.objectives.log_prob(draw.points, logits)
    leaky = (values + (values - values.flip(0)) * log_prob).mean(0)
    (plain,) = torch.autograd.grad(values.mean(0).sum(), weight, retain_graph=True)
    (got,) = torch.autograd.grad(leaky.sum(), weight)
    assert not torch.allclose(got, plain, rtol=0.1)


def test_the_score_of_a_wrong_probability_fails():
    """Weights made with the probabilities of other logits: unbiased no more, and enumeration says so."""

    class Stale(dg.Score):
        def gradient(self, drawn, values, centred=False):
            return score(drawn.probs.flip(-1), drawn.indices, values / len(values))

    assert bias(dg.Composition(dg.Independent(1), Stale())) > 0.01
