"""A linear layer by ids is the one on one-hots: values and gradients of every order, up to rounding.

Tolerances are bounds on rounding: sums are in float32 or wider and round with every addition; what is stored between
them rounds to the parameters' dtype.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from catalogue import drawn_where
from rounding import assert_rounding
from torch import nn

import discretegrad as dg
from discretegrad.nn import OneHotLinear

LEADS = [(), (7,), (2, 3)]
OUT = 6


def assert_stored_and_added(got, expected, stored, added, additions):
    """Within 4 roundings of the stored parts, and one for each addition of sums whose addends' sizes are `added`."""
    wide = torch.finfo(torch.promote_types(got.dtype, torch.float32)).eps
    size = 4 * torch.finfo(got.dtype).eps * sum(part.abs() for part in stored) + wide * additions * added
    assert_rounding(got, expected, size, 1, eps=1.0)


def make(variables, categories, dtype=torch.float64, low=0.0, high=1.0, bias=True):
    return OneHotLinear(variables, categories, OUT, bias, low, high, dtype=dtype)


def by_one_hots(layer, ids, mask=None):
    """In float64: the output, and the layer's linear counterpart."""
    linear = layer.to_linear().double()
    points = layer.low + (layer.high - layer.low) * F.one_hot(ids, layer.categories).double()
    if mask is not None:
        points = torch.where(mask.unsqueeze(-1), points, 0.0)
    return linear(points.flatten(-1 - len(layer.variables))), linear, points


@pytest.mark.parametrize(
    ("dtype", "categories", "variables", "limits", "bias"),
    drawn_where(
        [torch.float64, torch.float32, torch.bfloat16],
        [1, 2, 3, 63, 100, 1000],
        [1, 5],
        [(0.0, 1.0), (-1.0, 1.0), (0.0, 2.0)],
        [True, False],
        full=2,
    ),
)
def test_values_and_gradients_are_those_of_the_linear_layer(dtype, categories, variables, limits, bias):
    low, high = limits
    layer = make(variables, categories, dtype, low, high, bias)
    scale = high - low
    for lead in LEADS:
        ids = torch.randint(categories, (*lead, variables))
        expected, linear, points = by_one_hots(layer, ids)
        chosen = F.one_hot(ids, categories).double().flatten(-2)
        weight, constant = layer.weight.detach().double(), layer.bias.detach().double() if bias else torch.zeros(OUT)
        got = layer(ids)
        assert got.dtype == dtype
        stored = (scale * chosen @ weight, low * weight.sum(0), constant)
        added = points.abs().flatten(-2) @ weight.abs() + constant.abs()
        assert_stored_and_added(got, expected, stored, added, variables * (categories if low else 1) + 1)

        cotangent = torch.randn(got.shape).to(dtype)
        layer.zero_grad()
        got.backward(cotangent)
        expected.backward(cotangent.double())
        cotangent = cotangent.double().reshape(-1, OUT)
        number, chosen = len(cotangent), chosen.reshape(-1, variables * categories)
        stored = (scale * chosen.T @ cotangent, low * cotangent.sum(0))
        added = scale * chosen.T @ cotangent.abs() + abs(low) * cotangent.abs().sum(0)
        assert_stored_and_added(layer.weight.grad, linear.weight.grad.T, stored, added, number)
        if bias:
            assert_stored_and_added(
                layer.bias.grad, linear.bias.grad, (cotangent.sum(0),), cotangent.abs().sum(0), number
            )


@pytest.mark.parametrize(("variables", "categories"), [(32, 1024), (41, 1000), (7, 3)])
def test_tables_of_any_height(variables, categories):
    """2**15 rows, and more, are sorted by keys of another width."""
    layer = make(variables, categories)
    ids = torch.randint(categories, (9, variables))
    ids[0] = categories - 1
    expected, linear, _ = by_one_hots(layer, ids)
    got = layer(ids)
    torch.testing.assert_close(got, expected)
    got.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, linear.weight.grad.t())


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("masked", [False, True])
def test_ids_one_hots_and_relaxed_points_go_through_one_layer(masked, low, high):
    layer = make((2, 3), 4, low=low, high=high)
    ids = torch.randint(4, (5, 2, 3))
    mask = torch.rand(5, 2, 3) < 0.5 if masked else None
    torch.testing.assert_close(layer(F.one_hot(ids, 4).double(), mask), layer(ids, mask), rtol=1e-12, atol=1e-12)

    relaxed = torch.rand(5, 2, 3, 4, dtype=torch.float64).softmax(-1).requires_grad_()
    linear = layer.to_linear()
    inputs = low + (high - low) * relaxed
    inputs = torch.where(mask.unsqueeze(-1), inputs, 0.0) if masked else inputs
    got, expected = layer(relaxed, mask), linear(inputs.flatten(1))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(output.sin().sum(), relaxed)[0] for output in (got, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("shape", [(4, 3), (3,), (4, 1)])
def test_masked_variables_add_nothing_whatever_their_ids(shape, low, high):
    layer = make(3, 5, low=low, high=high)
    mask = torch.rand(shape) < 0.5
    ids = torch.randint(5, (2, 4, 3))
    expected, linear, _ = by_one_hots(layer, ids, mask.expand(4, 3))
    got = layer(torch.where(mask, ids, -7), mask)
    torch.testing.assert_close(got, expected)
    got.sin().sum().backward()
    expected.sin().sum().backward()
    torch.testing.assert_close(layer.weight.grad, linear.weight.grad.t())
    torch.testing.assert_close(layer(ids, torch.zeros(3, dtype=torch.bool)), layer.bias.expand(2, 4, OUT))


@pytest.mark.parametrize(("low", "masked"), drawn_where([0.0, -1.0], [False, True]))
def test_derivatives_of_second_order(low, masked):
    layer = make(3, 4, low=low)
    ids = torch.randint(4, (5, 3))
    mask = torch.rand(5, 3) < 0.5 if masked else None

    def f(weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (ids, mask)).tanh()

    parameters = (layer.weight, layer.bias)
    assert torch.autograd.gradcheck(f, parameters)
    assert torch.autograd.gradgradcheck(f, parameters)


@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("lead", [(0,), (2, 0)])
def test_an_empty_batch(lead, low):
    layer = make(3, 4, low=low)
    for points in (torch.zeros(*lead, 3, dtype=torch.int64), torch.zeros(*lead, 3, 4, dtype=torch.float64)):
        got = layer(points)
        assert got.shape == (*lead, OUT)
        layer.zero_grad()
        got.sum().backward()
        assert torch.equal(layer.weight.grad, torch.zeros(12, OUT, dtype=torch.float64))


@pytest.mark.parametrize("bias", [True, False])
def test_there_and_back_bit_for_bit(bias):
    linear = nn.Linear(2 * 3 * 4, OUT, bias, dtype=torch.float64)
    state = torch.get_rng_state()
    layer = OneHotLinear.from_linear(linear, (2, 3), 4, low=-1.0)
    again = layer.to_linear()
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn
    assert layer.weight.is_contiguous()
    assert again.state_dict().keys() == linear.state_dict().keys()
    for name, value in linear.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    layer.weight.data.zero_()
    assert again.weight.abs().sum() > 0  # copies
    with pytest.raises(ValueError, match="2 x 3 one-hots of 5 categories has 30 inputs; this one has 24"):
        OneHotLinear.from_linear(linear, (2, 3), 5)


def test_the_parameters_start_with_the_linear_layer_s_law():
    """Of its limits, and of its second moment within 5 standard errors: a false alarm in 2e-6."""
    layer = OneHotLinear(50, 20, 100)
    linear = nn.Linear(1000, 100)
    limit = 1000**-0.5
    for other in (layer.weight, layer.bias, linear.weight, linear.bias):
        assert other.abs().max() <= limit
        squares = other.detach().double().square() / limit**2  # of mean 1 / 3 and variance 4 / 45
        assert abs(squares.mean() - 1 / 3) < 5 * (4 / 45 / squares.numel()) ** 0.5


def test_the_state():
    layer = make((2, 3), 4)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "weight": (24, OUT),
        "bias": (OUT,),
    }
    other = make((2, 3), 4)
    other.load_state_dict(layer.state_dict())
    ids = torch.randint(4, (5, 2, 3))
    assert torch.equal(other(ids), layer(ids))
    assert torch.equal(copy.deepcopy(layer)(ids), layer(ids))
    assert "bias" not in make(2, 3, bias=False).state_dict()
    assert "variables=(2, 3), categories=4" in repr(layer)


@pytest.mark.parametrize(("masked", "low"), drawn_where([False, True], [0.0, -1.0]))
def test_compile(masked, low):
    layer = make(3, 4, low=low)
    ids = torch.randint(4, (5, 3))
    mask = torch.rand(5, 3) < 0.5 if masked else None
    expected = layer(ids, mask)
    expected.sin().sum().backward()
    gradient = layer.weight.grad.clone()
    layer.zero_grad()
    got = torch.compile(layer, fullgraph=True, backend="aot_eager")(ids, mask)
    torch.testing.assert_close(got, expected)
    got.sin().sum().backward()
    torch.testing.assert_close(layer.weight.grad, gradient)


@pytest.mark.parametrize(("masked", "low"), drawn_where([False, True], [0.0, -1.0]))
def test_vmap_over_ids_weights_and_masks(masked, low):
    layer = make(3, 4, low=low)
    ids, weights = torch.randint(4, (6, 5, 3)), torch.randn(6, 12, OUT, dtype=torch.float64)
    mask = torch.rand(6, 5, 3) < 0.5 if masked else None

    def f(weight, ids, mask):
        return torch.func.functional_call(layer, {"weight": weight}, (ids, mask)).sin()

    def gradient(weight, ids, mask):
        return torch.func.grad(lambda weight: f(weight, ids, mask).sum())(weight)

    def second(weight, ids, mask):
        return torch.func.grad(lambda weight: gradient(weight, ids, mask).square().sum())(weight)

    for function in (f, gradient, second):
        for dims in ((0, 0), (0, None), (None, 0)):
            arguments = [
                [t[i] if d == 0 else t[0] for t, d in zip((weights, ids), dims, strict=True)] for i in range(6)
            ]
            expected = [function(*a, mask[i] if masked else None) for i, a in enumerate(arguments)]
            given = [t if d == 0 else t[0] for t, d in zip((weights, ids), dims, strict=True)]
            got = torch.func.vmap(function, (*dims, 0 if masked else None))(*given, mask)
            torch.testing.assert_close(got, torch.stack(expected))
    nested = torch.func.vmap(torch.func.vmap(layer))(ids)
    torch.testing.assert_close(nested, layer(ids))


@pytest.mark.parametrize(
    ("points", "error", "match"),
    [
        (torch.zeros(2, 3, dtype=torch.int32), TypeError, "points are int64 ids, or one-hots"),
        (torch.zeros(2, 3, dtype=torch.bool), TypeError, "not torch.bool"),
        ([[0, 1, 2]], TypeError, "not list"),
        (torch.zeros(2, 4, dtype=torch.int64), ValueError, r"points must be ids \[\*lead, 3\]"),
        (torch.zeros(2, 3), ValueError, r"or one-hots \[\*lead, 3, 4\]; these are torch.float32 of shape \(2, 3\)"),
        (torch.zeros((), dtype=torch.int64), ValueError, "points must be ids"),
        (torch.full((2, 3), 4), ValueError, r"indices must lie in 0\.\.3"),
        (torch.full((2, 3), -1), ValueError, r"indices must lie in 0\.\.3"),
    ],
)
def test_bad_points_get_a_sentence(points, error, match):
    with pytest.raises(error, match=match):
        make(3, 4)(points)


def test_other_refusals():
    ids = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(TypeError, match="mask must be a boolean tensor"):
        make(3, 4)(ids, torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 2\), which does not broadcast"):
        make(3, 4)(ids, torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="variables must be an integer of at least 1"):
        OneHotLinear((2, 0), 4, 5)
    with pytest.raises(ValueError, match="at least one dimension"):
        OneHotLinear((), 4, 5)
    with pytest.raises(ValueError, match="categories must be an integer of at least 1"):
        OneHotLinear(2, 0, 5)


def test_the_same_layer_serves_ids_and_estimators_that_differentiate_f():
    logits = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    layer = make(3, 4)
    draw = dg.RLOO(3).sample(logits)
    torch.testing.assert_close(layer(draw.indices), layer(draw.points))
    dg.expectation(lambda points: layer(points).sum(-1), logits, dg.GumbelSoftmax()).sum().backward()
    assert logits.grad.abs().sum() > 0
