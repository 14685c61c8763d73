"""What only a GPU can show of whole estimators; `make gpu` runs it beside the kernels' tests in `test_triton.py`."""

import pytest
import torch

import discretegrad as dg
from discretegrad.ops import score as score_ops

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

ESTIMATORS = {
    "rloo": dg.RLOO(),
    "reinforce": dg.Reinforce(3),
    "tree": dg.DisARMTree(),
    "tree-2-pairs": dg.DisARMTree(num_pairs=2),
    "sticks": dg.DisARMSB(order="ascending"),
    "iw": dg.DisARMIW(),
    "flow": dg.Flow(),
    "gumbel": dg.GumbelSoftmax(0.5),
    "reinmax": dg.ReinMax(),
}


def step(estimator, logits, seed=1, mask=None):
    """Ids or relaxed points, and the gradient."""
    draw = estimator.sample(logits, torch.Generator(logits.device).manual_seed(seed), mask)
    values = (draw.points[..., :3] * torch.arange(3.0, device=logits.device)).flatten(2).sum(-1).square()
    (gradient,) = torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)
    return draw.points.detach(), gradient


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_waits_for_the_device(name, masked):
    logits = torch.randn(8, 3, 50, device="cuda", requires_grad=True)
    mask = torch.rand(8, 3, device="cuda") < 0.7 if masked else None
    step(ESTIMATORS[name], logits, mask=mask)  # compiles, and fills caches of tables
    torch.cuda.set_sync_debug_mode("error")
    try:
        _, gradient = step(ESTIMATORS[name], logits, mask=mask)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert gradient.isfinite().all()
    if masked:
        assert (gradient[~mask] == 0).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_generator_decides_about_the_points(name):
    logits = torch.randn(8, 3, 50, device="cuda", requires_grad=True)
    first, again, other = (step(ESTIMATORS[name], logits, seed) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("default", ["cpu", "meta"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_results_are_where_the_logits_are(name, default):
    logits = torch.randn(8, 3, 50, device="cuda", requires_grad=True)
    expected = step(ESTIMATORS[name], logits)
    with torch.device(default):
        draw = ESTIMATORS[name].sample(logits, torch.Generator("cuda").manual_seed(1))
        values = torch.zeros(draw.points.shape[:2], device="cuda") + draw.points.flatten(2).sum(-1)
        (gradient,) = torch.autograd.grad(ESTIMATORS[name].surrogate(draw, values).sum(), logits)
    assert torch.equal(draw.points, expected[0])
    assert gradient.device == logits.device


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_another_device_than_the_current_one(name):
    logits = torch.randn(8, 3, 50, device="cuda:1", requires_grad=True)
    points, gradient = step(ESTIMATORS[name], logits)
    assert points.device == gradient.device == logits.device
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["rloo", "reinforce", "tree", "sticks", "iw"])
def test_long_rows_take_no_memory_besides(name):
    """Points and a gradient of 250,000 categories; the order of the leaves apart, and what is made to sort them."""
    logits = torch.randn(2, 2, 250_000, device="cuda", requires_grad=True)
    estimator = ESTIMATORS[name]
    values = torch.randn(estimator.evaluations, 2, device="cuda")

    def run():
        draw = estimator.sample(logits)
        return draw, torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)[0]

    draw, gradient = run()
    with dg.ops.using("reference"):
        again = dg.draw.given(logits, draw.indices, draw.latent)
        expected = torch.autograd.grad(estimator.surrogate(again, values).sum(), logits)[0]
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    size = logits.numel() * logits.element_size()
    del draw, gradient, again, expected
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    if name in ("rloo", "tree"):
        assert torch.cuda.max_memory_allocated() - before < 1.1 * size


@pytest.mark.parametrize("name", ["rloo", "tree", "iw"])
def test_torch_compile_gives_the_same(name):
    estimator = ESTIMATORS[name]
    logits = torch.randn(8, 3, 5, device="cuda", requires_grad=True)

    def loss(x):
        return estimator(lambda points: (points * points.cumsum(-1)).flatten(2)[..., 1].square(), x).sum()

    found = []
    for function in (loss, torch.compile(loss, fullgraph=True)):
        torch.manual_seed(1)
        value = function(logits)
        found.append((value.detach(), torch.autograd.grad(value, logits)[0]))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_half_precision_under_autocast():
    layer = torch.nn.Linear(4, 3 * 50, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        logits = layer(torch.randn(8, 4, device="cuda")).unflatten(-1, (3, 50))
        loss = dg.DisARMTree()(lambda points: points[..., 0].sum(-1), logits)
    loss.sum().backward()
    assert logits.dtype == torch.bfloat16
    assert layer.weight.grad.isfinite().all()


def test_one_hots_of_ids_that_are_views():
    indices = torch.randint(5, (4, 6), device="cuda")[::2]
    got = score_ops.one_hot(indices, 5, torch.float32)
    assert torch.equal(got, torch.nn.functional.one_hot(indices, 5).float())
