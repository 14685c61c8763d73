"""A mask costs no copies of the logits, and whatever is under it matters to nothing."""

import pytest
import torch
from catalogue import every, make
from torch.utils._python_dispatch import TorchDispatchMode

import discretegrad as dg

IMPLEMENTATIONS = ("reference", "fused", "native")


class Copies(TorchDispatchMode):
    """Counts the new tensors of a size or more that operations make."""

    def __init__(self, size):
        super().__init__()
        self.size, self.made = size, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}
        new = isinstance(result, torch.Tensor) and result.numel() >= self.size
        if new and result.untyped_storage().data_ptr() not in given:
            self.made.append(str(function))
        return result


def step(estimator, logits, mask, seed=1):
    """The gradient, of given values."""
    draw = estimator.sample(logits, torch.Generator().manual_seed(seed), mask)
    values = torch.linspace(-1.0, 2.0, draw.evaluations * len(logits)).reshape(-1, len(logits))
    return torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)[0]


@pytest.mark.parametrize("categories", [40, 5000])
@pytest.mark.parametrize("name", ["rloo", "reinforce", "tree", "sb"])
def test_a_step_makes_one_tensor_of_the_logits_size(name, categories):
    """Its gradient: in memory an estimator takes ids and numbers a variable besides, with a mask as without."""
    made = {"rloo": dg.RLOO(2), "reinforce": dg.Reinforce(2), "tree": dg.DisARMTree(), "sb": dg.DisARMSB()}
    estimator = made[name]
    logits = torch.randn(6, 4, categories, requires_grad=True)
    mask = torch.rand(6, 4) < 0.7
    for where in (None, mask):
        step(estimator, logits, where)
        with Copies(logits.numel()) as copies:
            step(estimator, logits, where)
        assert len(copies.made) == 1, copies.made


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_what_is_under_a_mask_is_not_looked_at(implementation):
    """NaN, infinity and forbidden categories there: ids, the estimate and the gradient are those of zeros there."""
    mask = torch.tensor([[True, False, True], [False, True, True], [True, True, True], [False, False, False]])
    for name, latent in every():
        estimator = make(name, latent)
        clean = torch.randn((4, 3) if latent == "bernoulli" else (4, 3, 5))
        off = mask if latent == "bernoulli" else mask.unsqueeze(-1)
        worst = torch.tensor([torch.nan, torch.inf, -torch.inf]).repeat(clean.numel() // 3).reshape(clean.shape)
        worst[3, 0], worst[3, 1], worst[3, 2] = torch.nan, torch.inf, -torch.inf  # whole variables of each
        found = []
        for hidden in (torch.zeros(()), worst):
            logits = torch.where(off, clean, hidden).requires_grad_()
            with dg.ops.using(implementation):
                draw = estimator.sample(logits, torch.Generator().manual_seed(3), mask)
                loss = estimator.surrogate(
                    draw, draw.points.square().flatten(2).sum(-1) + draw.points.flatten(2)[..., 0]
                )
                (gradient,) = torch.autograd.grad(loss.sum(), logits)
            assert (gradient[~mask] == 0).all(), name
            found.append((draw.indices, loss.detach(), gradient))
        for one, other in zip(*found, strict=True):
            assert torch.equal(one, other), name


@pytest.mark.parametrize("categories", [64, 200])
def test_rows_that_are_off_do_not_make_logits_unsound(categories):
    logits, mask = torch.randn(40, categories), torch.rand(40) < 0.5
    logits[~mask] = torch.nan
    indices = dg.RLOO(3).sample(logits, mask=mask).indices
    assert (indices[:, ~mask] == 0).all()
    logits[mask.nonzero()[0]] = torch.nan
    with pytest.raises(ValueError, match="logits hold NaN"):
        dg.RLOO(3).sample(logits, mask=mask)
