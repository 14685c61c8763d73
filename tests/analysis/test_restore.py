"""What a measurement moves is put back: random generators, and modules wherever a function holds them."""

import functools
import random

import numpy as np
import pytest
import torch
from torch import nn

import discretegrad as dg
from discretegrad import analysis
from discretegrad.analysis.restore import default_generators, held, restored

LOGITS = torch.zeros(5, 3, 4)


class Tracking(nn.BatchNorm1d):
    """Moves its statistics as in training, and normalises nothing: f does not mix the points of a call."""

    def forward(self, points):
        super().forward(points)
        return points


NORMS = [Tracking(12)]
"""A global."""


def normed(points, norm):
    return norm(points.flatten(2).flatten(0, 1)).sum(-1).unflatten(0, points.shape[:2])


def of_global(points):
    return through(points)


def through(points):
    return normed(points, NORMS[0])


class Trainer:
    def __init__(self):
        self.parts = {"norm": Tracking(12)}

    def f(self, points):
        return normed(points, self.parts["norm"])

    def __call__(self, points):
        return self.f(points)


def forms():
    """Functions of points, and the module that they move."""
    norm, trainer = Tracking(12), Trainer()
    inner = lambda points: normed(points, norm)  # noqa: E731
    within = trainer.parts["norm"]
    return {
        "closure": (inner, norm),
        "closure of a closure": (lambda points: inner(points), norm),
        "default": (lambda points, norm=norm: normed(points, norm), norm),
        "partial": (functools.partial(normed, norm=norm), norm),
        "method": (trainer.f, within),
        "object": (trainer, within),
        "closure over an object": (lambda points: trainer.f(points), within),
        "global": (of_global, NORMS[0]),
    }


@pytest.mark.parametrize("measure", ["compare", "auto", "monitor"])
@pytest.mark.parametrize("form", list(forms()))
def test_what_a_call_of_f_moves_in_a_module_is_put_back(form, measure):
    f, norm = forms()[form]
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    if measure == "compare":
        analysis.compare(f, LOGITS, [dg.RLOO(2)], replicates=64, rounds=0, progress=False)
    elif measure == "auto":
        dg.Auto([dg.RLOO(2)], replicates=64, rounds=1)(f, LOGITS)
    else:
        analysis.Monitor(every=1).after(dg.RLOO(2), f, LOGITS)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    f(torch.randn(2, 5, 3, 4))
    assert norm.num_batches_tracked == before["num_batches_tracked"] + 1, "f does not move it"


def test_it_is_put_back_where_auto_refuses_an_f_that_mixes():
    norm = nn.BatchNorm1d(12)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with pytest.raises(ValueError, match="mixes the points"):
        dg.Auto([dg.RLOO(2)])(lambda points: normed(points, norm), LOGITS)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_every_generator_that_a_step_uses_is_put_back():
    own, weight = torch.Generator().manual_seed(1), nn.Parameter(torch.zeros(5, 3, 4))
    reference = dg.Reinforce(baseline=dg.nn.RunningMean())

    def step(estimator):
        noise = torch.rand((), generator=own) + torch.rand(()) + random.random() + np.random.rand()
        draw = estimator.sample(weight)
        values = draw.points[..., 0].sum(-1) * noise
        for learner in estimator.learners:
            learner.update(draw, values)
        return estimator.surrogate(draw, values)

    random.seed(2)
    np.random.seed(2)
    torch.manual_seed(2)
    own.manual_seed(2)
    expected = random.random(), np.random.rand(), torch.rand(()), torch.rand((), generator=own)
    random.seed(2)
    np.random.seed(2)
    torch.manual_seed(2)
    own.manual_seed(2)
    found = analysis.compare(
        step, {"weight": weight}, [dg.RLOO(2)], reference=reference, replicates=64, rounds=1, progress=False
    )
    assert not found.failures and "replicates of reference" in found.truth_name
    assert (random.random(), np.random.rand(), torch.rand(()), torch.rand((), generator=own)) == expected
    assert reference.learners[0].weight == 0


def test_it_is_put_back_after_an_error_too():
    norm = nn.BatchNorm1d(3)
    state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt), restored(torch.device("cpu"), norm):
        norm.eval()
        norm.running_mean += torch.rand(3)
        raise KeyboardInterrupt
    assert norm.training and norm.running_mean.eq(0).all()
    assert torch.equal(torch.get_rng_state(), state)


def test_only_generators_that_are_put_back_are_seeded(monkeypatch):
    """Seeding by `torch.manual_seed` moves those of all devices."""
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("all devices were seeded"))
    analysis.compare(lambda points: points[..., 0].sum(-1), LOGITS, [dg.RLOO(2)], replicates=64, rounds=1)
    assert default_generators(torch.device("cpu")) == [torch.default_generator]


def test_what_is_not_looked_into():
    """Data, types, modules of Python, the attributes of attributes, and names that are not bound yet."""
    norm = nn.BatchNorm1d(3)
    data, trainers = [norm] * 2000, [Trainer()]
    trainers[0].inner = Trainer()

    def f():
        return data, torch, Trainer, trainers, later

    assert held([f]) == ([trainers[0].parts["norm"]], [])
    later = norm
    assert set(held([f])[0]) == {norm, trainers[0].parts["norm"]}
