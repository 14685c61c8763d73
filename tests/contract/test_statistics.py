"""What learners keep of the past is kept in float32, whatever becomes of the dtype of their module or of the values."""

import copy

import pytest
import torch
from catalogue import every, make

import discretegrad as dg

LEARNERS = {
    "running": lambda: dg.nn.RunningMean(0.9),
    "nvil": lambda: dg.nn.NVILBaseline(decay=0.9),
    "nvil-network": lambda: dg.nn.NVILBaseline(torch.nn.Linear(12, 1), decay=0.9),
    "share": lambda: dg.nn.EstimatedShare(0.9),
}
CHANGES = {
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "double": lambda module: module.double(),
    "to": lambda module: module.to(torch.float16),
    "parent": lambda module: torch.nn.ModuleList([module]).to(dtype=torch.bfloat16)[0],
}


def fed(module, scale=1.0, dtype=torch.float32, steps=50):
    """After values that move slowly, as seen by an estimator that the module belongs to."""
    generator = torch.Generator().manual_seed(0)
    share = isinstance(module, dg.nn.EstimatedShare)
    estimator = dg.DisARMTree(2, alpha=module) if share else dg.Reinforce(2, module)
    for step in range(steps):
        draw = estimator.sample(torch.zeros(5, 3, 4, requires_grad=True), generator)
        values = (scale * (1 + 0.01 * step + draw.points[..., 0].sum(-1))).to(dtype)
        estimator.surrogate(draw, values)
        module.update(draw, values)
    return module


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", LEARNERS)
def test_statistics_keep_their_dtype_and_value(name, change):
    torch.manual_seed(0)
    module = fed(LEARNERS[name](), scale=3000.0)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    changed = CHANGES[change](module)
    assert {name: buffer.dtype for name, buffer in changed.named_buffers()} == dict.fromkeys(before, torch.float32)
    for name, buffer in changed.named_buffers():
        assert torch.equal(buffer, before[name])
    assert changed.to("meta").state_dict().keys() == changed.state_dict().keys()
    assert all(buffer.is_meta and buffer.dtype == torch.float32 for buffer in changed.buffers())
    assert all(not buffer.is_meta for buffer in changed.to_empty(device="cpu").buffers())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["running", "nvil", "share"])
def test_a_module_in_half_precision_keeps_the_same_statistics(name, dtype):
    """Averages neither stall, as they do in bfloat16, nor overflow, as squares of a thousand do in float16."""
    half = fed(LEARNERS[name]().to(dtype), scale=1000.0)
    for (_, one), (_, other) in zip(half.named_buffers(), fed(LEARNERS[name](), 1000.0).named_buffers(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["running", "nvil", "nvil-network"])
def test_values_in_half_precision_are_averaged_in_float32(name):
    torch.manual_seed(0)
    module = LEARNERS[name]()
    low, high = fed(copy.deepcopy(module), 1000.0, torch.float16, 20), fed(copy.deepcopy(module), 1000.0, steps=20)
    for (_, one), (_, other) in zip(low.named_buffers(), high.named_buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=2**-10, atol=0)
    draw = dg.Reinforce(2).sample(torch.zeros(5, 3, 4))
    values = torch.tensor([[-1000.0], [1000.0]], dtype=torch.float16).expand(2, 5)
    assert low.loss(draw, values).isfinite()


def test_nvil_in_half_precision_after_large_values():
    baseline = dg.nn.NVILBaseline().half()
    estimator = dg.NVIL(baseline, 2)
    logits = torch.zeros(4, 3, 5, requires_grad=True)
    for _ in range(3):
        draw = estimator.sample(logits)
        values = torch.tensor([[-1000.0], [1000.0]]).expand(2, 4)
        (gradient,) = torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)
        baseline.update(draw, values)
        assert gradient.isfinite().all()
    assert float(baseline.scale()) == pytest.approx(1000.0)


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
def test_states_go_round(name, assign):
    """Also those that were saved in half precision."""
    module, other = fed(LEARNERS[name]()), LEARNERS[name]()
    other.load_state_dict(module.state_dict(), assign=assign)
    for one, loaded in zip(module.buffers(), other.buffers(), strict=True):
        assert torch.equal(one, loaded)
    saved = {name: tensor.half() for name, tensor in module.state_dict().items()}
    other.load_state_dict(saved, assign=assign)
    for one, loaded in zip(module.buffers(), other.buffers(), strict=True):
        assert loaded.dtype == torch.float32
        torch.testing.assert_close(loaded, one, rtol=2**-10, atol=0)


@pytest.mark.parametrize(("name", "latent"), [one for one in every() if make(*one).learners])
def test_no_learner_of_the_catalogue_keeps_statistics_in_half_precision(name, latent):
    for learner in make(name, latent).learners:
        assert all(buffer.dtype in (torch.float32, torch.float64) for buffer in learner.bfloat16().buffers())
