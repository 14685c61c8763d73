"""The kernel that looks at values beside the operations that it stands for."""

import pytest
import torch

import discretegrad as dg
from discretegrad.control_variate.leave_one_out import less_the_others
from discretegrad.ops import centre as centre_ops
from discretegrad.ops import native

pytestmark = pytest.mark.skipif(not native.available(), reason="there is no C compiler")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("points", range(1, centre_ops.MOST + 1))
@pytest.mark.parametrize("batch", [(), (1,), (37,), (5, 300)])
def test_the_same_digits_as_the_operations(batch, points, dtype):
    values = 1e3 + torch.randn(points, *batch, dtype=dtype)
    average, left, finite = centre_ops.centre(values, 4, others=False)
    assert finite and torch.equal(average, values.mean(0)) and left.shape == (points, *batch, *(1,) * (3 - len(batch)))
    assert torch.equal(left.reshape(values.shape), values - values[:1])
    if points > 1:
        _, left, _ = centre_ops.centre(values, 1 + len(batch), others=True)
        assert torch.equal(left, less_the_others(values - values[:1]))


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_mean_that_is_not_finite_is_told_of(number):
    values = torch.zeros(2, 5)
    values[1, 3] = number
    assert not centre_ops.centre(values, 2, others=True)[2]
    draw = dg.RLOO(2).sample(torch.zeros(5, 3, 4, requires_grad=True))
    if number == torch.inf:  # an f that says "never" is no mistake
        assert torch.isinf(dg.RLOO(2).surrogate(draw, values)[3])
        return
    with pytest.raises(ValueError, match="values hold NaN"):
        dg.RLOO(2).surrogate(draw, values)
    dg.RLOO(2).surrogate(draw, values, validate=False)


def twice_differentiated(estimator, implementation):
    """The surrogate, its gradient in a parameter of f and in the logits, and the second derivative in the parameter."""
    torch.manual_seed(3)
    logits, scale = torch.randn(5, 3, 4, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    draw = estimator.sample(logits)
    values = (draw.points * torch.linspace(-1, 1, 4) * scale).sum((-1, -2)).exp()
    with dg.ops.using(implementation):
        loss = (estimator.surrogate(draw, values) * torch.arange(5)).sum()
    first, of_logits = torch.autograd.grad(loss, (scale, logits), create_graph=True)
    return loss, first, of_logits, torch.autograd.grad(first, scale)[0]


@pytest.mark.parametrize("estimator", [dg.RLOO(2), dg.DisARMTree(), dg.DisARMSB(2)], ids=repr)
def test_values_keep_their_graph(estimator):
    found, expected = (twice_differentiated(estimator, name) for name in ("native", "fused"))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert found[-1] != 0
