"""Bad input gets one clear sentence, before any work is done."""

import pytest
import torch
from catalogue import every, make

import discretegrad as dg

F = dg.functional


def bound(coupling, weights, objective, control_variate=None):
    return dg.Composition(coupling, weights, control_variate, objective=objective)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: dg.RLOO(1), "at least 2"),
        (lambda: dg.RLOO(2.0), "integer of at least 1"),
        (lambda: dg.Reinforce(0), "num_samples must be an integer"),
        (lambda: dg.DisARMTree(0), "num_pairs must be an integer"),
        (lambda: dg.DisARMTree(True), "num_pairs must be an integer"),
        (lambda: dg.DisARMTree(order="up"), "order is one of"),
        (lambda: dg.DisARMTree(tree="oak"), "a tree is 'balanced'"),
        (lambda: dg.DisARMTree(tree=((0, 1), 2, 3)), "exactly two children"),
        (lambda: dg.DisARMTree(tree=((0, 1), 3)), "exactly once"),
        (lambda: dg.DisARMTree(tree="huffman", order="ascending"), "order must be None"),
        (lambda: dg.RLOO(latent="gaussian"), "latent is one of 'categorical', 'bernoulli'"),
        (lambda: dg.GumbelSoftmax(0.0), "temperature must be positive"),
        (lambda: dg.StraightThrough(0), "num_samples must be an integer"),
        (lambda: dg.Exact(-1), "event_dims is a number"),
        (lambda: dg.VarGrad(1), "at least 2"),
        (lambda: dg.LocalExpectation(0), "num_variables must be an integer"),
        (lambda: dg.SumAndSample(0), "k must be an integer"),
        (lambda: dg.SumAndSample(2, 0), "num_samples must be an integer"),
        (lambda: dg.UnorderedSet(1), "k of at least 2"),
        (lambda: dg.UnorderedSet(13), r"2\*\*13 subsets; use a k of at most 12"),
        (lambda: dg.VIMCO(1), "num_samples must be at least 2"),
        (lambda: dg.VIMCO(2, "harmonic"), "baseline is 'geometric', 'arithmetic' or None"),
        (lambda: dg.DisARMBound(0), "num_pairs must be an integer"),
        (lambda: dg.nn.NVILBaseline(decay=1.0), r"decay must be in \[0, 1\)"),
        (lambda: dg.nn.RunningMean(1.0), r"decay must be in \[0, 1\)"),
        (lambda: dg.expectation(torch.sum, torch.zeros(2, 2), "rlo"), "the names are reinforce, rloo"),
        (lambda: dg.expectation(torch.sum, torch.zeros(2, 2), "rloo", on="id"), "on is 'points' or 'ids', not 'id'"),
        # Wrong cells name the legal neighbour.
        (lambda: dg.Composition(dg.Tree(), dg.Score(), dg.LeaveOneOut()), "use coupling=Independent"),
        (lambda: dg.Composition(dg.Independent(2), dg.RaoBlackwell()), r"use coupling=Tree\(\)"),
        (lambda: dg.Composition(dg.Independent(2), dg.Importance()), r"use coupling=StickBreaking\('ascending'\)"),
        (lambda: dg.Composition(dg.Tree(order="ascending"), dg.Importance()), r"use coupling=StickBreaking"),
        (lambda: dg.Composition(dg.Enumerate(), dg.Score(), dg.LeaveOneOut()), "use coupling=Independent"),
        (lambda: dg.Composition(dg.WithoutReplacement(3), dg.Score(), dg.LeaveOneOut()), "use coupling=Independent"),
        (lambda: dg.Composition(dg.TopAndRest(3), dg.Score(), dg.LeaveOneOut()), "use coupling=Independent"),
        (
            lambda: dg.Composition(dg.Independent(3), dg.Score(), dg.UnorderedBaseline()),
            r"or control_variate=LeaveOneOut",
        ),
        (lambda: dg.Composition(dg.Independent(3), dg.LocalExpectations()), r"use coupling=Alternatives\(\)"),
        (
            lambda: dg.Composition(dg.Alternatives(), dg.LocalExpectations(), dg.nn.RunningMean()),
            "control_variate=None",
        ),
        (lambda: bound(dg.Tree(), dg.Score(), dg.objectives.MultiSampleBound()), r"objective=AntitheticBound\(\)"),
        (lambda: bound(dg.Tree(), dg.RaoBlackwell(), dg.objectives.AntitheticBound()), r"alpha=1\.0"),
        (lambda: bound(dg.Independent(2), dg.Score(), dg.objectives.AntitheticBound()), r"alpha=1\.0"),
        (
            lambda: bound(dg.Independent(2), dg.Score(), dg.objectives.MultiSampleBound(), dg.LeaveOneOut()),
            "baselines of its own",
        ),
        (lambda: dg.Composition(dg.Tree(), dg.RaoBlackwell(), dg.nn.RunningMean()), "use control_variate=None"),
    ],
)
def test_wrong_cells_and_sizes_are_refused_when_built(build, match):
    with pytest.raises(ValueError, match=match):
        build()


@pytest.mark.parametrize(("name", "latent"), every())
def test_wrong_logits_are_refused(name, latent):
    estimator = make(name, latent, 3)
    shape = (2, 2) if latent == "bernoulli" else (2, 2, 3)
    with pytest.raises(TypeError, match="floating-point"):
        estimator.sample(torch.zeros(shape, dtype=torch.int64))
    with pytest.raises(TypeError, match="floating-point"):
        estimator.sample([0.0, 1.0])
    with pytest.raises(ValueError, match="NaN"):
        estimator.sample(torch.full(shape, torch.nan))
    with pytest.raises(TypeError, match="boolean"):
        estimator.sample(torch.zeros(shape), mask=torch.ones(2, 2))
    with pytest.raises(ValueError, match="does not broadcast"):
        estimator.sample(torch.zeros(shape), mask=torch.ones(5, dtype=torch.bool))
    if latent == "categorical":
        with pytest.raises(ValueError, match="latent='bernoulli'"):
            estimator.sample(torch.zeros(2, 0))
        with pytest.raises(ValueError, match="all its categories forbidden"):
            estimator.sample(torch.full(shape, -torch.inf))
        with pytest.raises(ValueError, match=r"\+inf"):
            estimator.sample(torch.full(shape, torch.inf))


@pytest.mark.parametrize(("name", "latent"), every())
def test_wrong_values_are_refused(name, latent):
    estimator = make(name, latent, 3)
    logits = torch.zeros((4, 2) if latent == "bernoulli" else (4, 2, 3), requires_grad=True)
    draw = estimator.sample(logits)
    points = draw.points.shape[0]
    with pytest.raises(TypeError, match="floating-point"):
        estimator.surrogate(draw, torch.zeros(points, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=f"S = {points}"):
        estimator.surrogate(draw, torch.zeros(points + 1, 4))
    with pytest.raises(ValueError, match=r"\[S, \*batch\]"):
        estimator.surrogate(draw, torch.zeros(points, 5))
    with pytest.raises(ValueError, match="that the logits do not have"):
        estimator.surrogate(draw, torch.zeros(points, 4, 2, 3))
    if estimator.needs_grad_f:
        with pytest.raises(ValueError, match="needs the gradient of f"):
            estimator.surrogate(draw, torch.zeros(points, 4))
        with torch.no_grad():  # nothing to carry a gradient to
            estimator.surrogate(draw, torch.zeros(points, 4))


def test_a_tree_of_another_size_is_refused():
    with pytest.raises(ValueError, match="4 leaves but the logits have 3 categories"):
        dg.DisARMTree(tree=((0, 1), (2, 3))).sample(torch.zeros(2, 3))


def test_too_large_enumerations_are_refused():
    with pytest.raises(ValueError, match=r"16\*\*32 joint ones"):
        dg.Exact().sample(torch.zeros(5, 32, 16))
    for estimator in (dg.Exact(), dg.LocalExpectation(), dg.SumAndSample(), dg.UnorderedSet()):
        with pytest.raises(ValueError, match="use event_dims=0"):
            estimator.sample(torch.zeros(3))
    draw = dg.Exact().sample(torch.zeros(5, 2, 3))
    with pytest.raises(ValueError, match="raise event_dims"):
        dg.Exact().surrogate(draw, torch.zeros(9))


def test_a_draw_of_another_estimator_is_refused():
    logits = torch.zeros(4, 2, 3)
    for sampler, judge in (
        (dg.RLOO(), dg.DisARMTree()),
        (dg.DisARMSB(), dg.DisARMTree()),
        (dg.RLOO(), dg.StraightThrough(2)),
    ):
        draw = sampler.sample(logits)
        with pytest.raises(ValueError, match="made by another estimator"):
            judge.surrogate(draw, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="made by another estimator"):
        dg.RLOO(2).surrogate(dg.StraightThrough(2).sample(logits), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="made by another estimator"):
        dg.StraightThrough(2).surrogate(dg.GumbelSoftmax(num_samples=2).sample(logits), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="made by another estimator"):
        dg.DisARMTree().surrogate(dg.draw.given(logits, torch.zeros(3, 4, 2).long(), draw.latent), torch.zeros(3, 4))


def test_a_gradient_of_another_shape_is_not_attached():
    for value, logits, gradient in (((3,), (3, 2), (1, 2)), ((3,), (1, 2), (1, 2)), ((2,), (3, 2), (3, 2))):
        with pytest.raises(ValueError, match="must have the logits' shape"):
            F.attach_gradient(torch.zeros(value), torch.zeros(logits), torch.zeros(gradient))


def test_a_class_in_place_of_an_estimator_is_refused():
    with pytest.raises(TypeError, match="such as RLOO"):
        dg.expectation(torch.sum, torch.zeros(2, 2), dg.RLOO)


def test_wrong_indices_are_refused():
    logits, values = torch.zeros(4, 2, 3), torch.zeros(2, 4)
    with pytest.raises(TypeError, match="int64"):
        F.rloo(logits, torch.zeros(2, 4, 2), values)
    with pytest.raises(ValueError, match=r"must be \[S, 4, 2\]"):
        F.rloo(logits, torch.zeros(2, 4, dtype=torch.int64), values)
    with pytest.raises(ValueError, match=r"lie in 0\.\.2"):
        F.rloo(logits, torch.full((2, 4, 2), 3), values)
    with pytest.raises(ValueError, match="come in pairs"):
        F.disarm_tree(logits, torch.zeros(3, 4, 2, dtype=torch.int64), torch.zeros(3, 4))


def test_a_baseline_of_the_wrong_shape_is_refused():
    estimator = dg.Reinforce(baseline=dg.nn.LearnedBaseline(torch.nn.Linear(6, 2)))
    draw = estimator.sample(torch.zeros(4, 2, 3))
    with pytest.raises(ValueError, match="network must return"):
        estimator.surrogate(draw, torch.zeros(1, 4))


def test_double_backward_is_refused():
    logits = torch.randn(4, 2, 3, requires_grad=True)
    loss = dg.RLOO()(lambda points: points.square().sum((-1, -2)), logits)
    (gradient,) = torch.autograd.grad(loss.sum(), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        gradient.square().sum().backward()


def test_checks_of_data_can_be_switched_off():
    assert dg.RLOO().sample(torch.full((2, 3), torch.nan), validate=False).indices.shape == (2, 2)
