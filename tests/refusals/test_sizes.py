"""Many categories: an estimator works within a few copies of the logits, or a sentence says why it does not."""

import pytest
import torch
from catalogue import CATEGORICAL, make
from torch.utils._python_dispatch import TorchDispatchMode

import discretegrad as dg
from discretegrad import checks
from discretegrad.ops import copula

CATEGORIES = 100_000
COPIES = 40
"""Of the logits, what one tensor may be as large as: an evaluation takes some, RODEO's network S (S - 1) times six."""


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that was made, which a view was not."""

    bytes = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor) and not function.is_view:
                self.bytes = max(self.bytes, one.untyped_storage().nbytes())
        return made


@pytest.mark.parametrize("name", [name for name in CATEGORICAL if "user" not in name])
def test_an_estimator_works_with_many_categories_or_says_that_it_cannot(name):
    estimator = make(name, categories=CATEGORIES)
    logits = torch.randn(1, 2, CATEGORIES, requires_grad=True)
    size = logits.numel() * logits.itemsize
    with Largest() as largest:
        try:
            draw = estimator.sample(logits)
        except ValueError as refusal:
            said = str(refusal)
            assert str(CATEGORIES) in said and ("use " in said or "instead" in said)
            assert largest.bytes < size, "a sentence comes before anything is allocated"
            return
        if estimator.takes_ids:
            values = torch.randn(draw.evaluations, 1)
        else:
            values = (draw.points * torch.arange(CATEGORIES)).sum((-1, -2))
        estimator.surrogate(draw, values).sum().backward()
    assert logits.grad.isfinite().all()
    assert largest.bytes <= COPIES * size


@pytest.mark.parametrize(
    ("estimator", "shape", "match"),
    [
        (dg.CARMS(4), (4, 4, 250_000), r"more than 4096 categories, and here are 250000; use DisARMTree"),
        (dg.Flow(dg.Copula(3)), (4, 4, 250_000), "use DisARMTree"),
        (dg.Flow(dg.Copula(3)), (4, 4, 4096), r"C = 4096 .* sums of 1\.1e\+12 terms.*use DisARMTree"),
        (dg.ARSM(), (4, 4, 250_000), r"31249875001 swaps of 250000 categories .* GiB.*use ARS"),
        (dg.ARSMPlus(), (4, 4, 2000), r"integrals .* 2000 categories .* GiB.*use integrate=False"),
        (dg.Exact(), (4, 4, 250_000), r"250000\*\*4 joint ones"),
        (dg.Flow(dg.Tree("huffman")), (4, 4, 250_000), r"250000\*\*2 .*use Flow\(Tree\(\)\)"),
        (dg.LocalExpectation(), (100, 1000, 250_000), r"points of an event .* GiB.*num_variables=1"),
    ],
)
def test_what_cannot_be_had_at_a_size_is_refused_before_it_is_allocated(estimator, shape, match, monkeypatch):
    monkeypatch.setattr(checks, "installed", lambda device=None: 2**34)
    logits = torch.zeros(1).expand(shape)  # of one number in memory
    with Largest() as largest, pytest.raises(ValueError, match=match):
        estimator.sample(logits, validate=False)
    assert largest.bytes < 1e6


def test_weights_of_a_copula_take_no_table_of_pairs():
    """Over all orders they would be sums of 10^9 terms here."""
    logits = torch.randn(4, 4, 4096, requires_grad=True)
    with Largest() as largest:
        dg.CARMS(4)(lambda points: points[..., 0].sum(-1), logits).sum().backward()
    assert logits.grad.isfinite().all()
    assert largest.bytes <= COPIES * logits.numel() * logits.itemsize


def test_orders_of_a_copula_that_would_have_to_be_gone_through_are_refused():
    with dg.ops.using("reference"), pytest.raises(ValueError, match="take hours; use DisARMTree"):
        dg.CARMS(4).sample(torch.zeros(100, 4, 4096))


def test_a_solve_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(checks, "installed", lambda device=None: 2**20)
    coupling = type("Slow", (dg.Independent,), {"pairs": dg.coupling.PairLaw(closed=False)})(2)
    with pytest.raises(ValueError, match=r"symmetric solves of 300 x 300 for 4 variables .* use Flow\(NearlyDistinct"):
        dg.Flow(coupling).sample(torch.zeros(2, 2, 300))
    dg.Flow(coupling).sample(torch.zeros(2, 2, 3))


def test_one_hots_too_large_are_refused(monkeypatch):
    draw = dg.ARS().sample(torch.zeros(2, 2, 300))
    monkeypatch.setattr(checks, "installed", lambda device=None: 2**20)
    with pytest.raises(ValueError, match=r"one-hots of 300 points of 300 categories .* GiB.*draw\.indices"):
        _ = draw.points
    assert dg.RLOO().sample(torch.zeros(2, 2, 300)).points.shape == (2, 2, 2, 300)


def test_memory_of_devices():
    assert checks.installed() == checks.installed(torch.device("cpu")) > 2**28
    assert checks.installed(torch.device("meta")) is None


@pytest.mark.parametrize("categories", [2, 3, 4, 65, 1000])
def test_ends_of_an_order_are_numbered_in_sequence(categories):
    found = copula.ends(torch.arange(categories * (categories - 1) // 2), categories)
    expected = torch.triu_indices(categories, categories, 1)
    assert torch.equal(torch.stack(found), expected)


def test_ends_of_an_order_of_many_categories():
    """Roots of numbers of 35 bits."""
    categories = 250_000
    count = categories * (categories - 1) // 2
    number = torch.cat((torch.arange(2000), torch.randint(count, (100_000,)), torch.arange(count - 2000, count)))
    first, last = copula.ends(number, categories)
    assert ((first >= 0) & (first < last) & (last < categories)).all()
    assert torch.equal(first * (2 * categories - first - 1) // 2 + last - first - 1, number)
