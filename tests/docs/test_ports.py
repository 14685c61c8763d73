"""The programs of docs/ports.md run, train by hand and by estimators of both kinds, and have the right gradients."""

import re
from pathlib import Path

import pytest
import torch

import discretegrad as dg

PAGE = (Path(__file__).parents[2] / "docs" / "ports.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page():
    """What the page defines."""
    names = {}
    exec("\n".join(CODE), names)
    return names


def images(count):
    pattern = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 1.0], [0.0, 0.0, -1.0, 1.0]])
    return (torch.stack((pattern, pattern.T, -pattern)).repeat(count, 1, 1).unsqueeze(1),)


def objects(count):
    kinds = torch.eye(5)[torch.tensor([[0, 1, 2], [3, 4, 0], [2, 3, 1], [4, 0, 3]])]
    return kinds.repeat(count, 1, 1), torch.tensor([0, 1, 2, 0]).repeat(count)


def texts(count):
    """The label is whether word 1 or word 2 is in the text; word 0 is padding."""
    text = torch.tensor([[1, 3, 4, 0], [5, 2, 0, 0], [6, 4, 1, 3], [2, 3, 6, 0]]).repeat(count, 1)
    return text, torch.tensor([0, 1, 0, 1]).repeat(count), text > 0


def walks(count):
    start = torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 1.0], [-1.0, 0.0, 0.0]])
    return (torch.stack((start, start.roll(1, -1)), 1).repeat(count, 1, 1),)


def labelled(count):
    inputs = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, 2.0], [2.0, -1.0, 1.0, 0.0], [0.0, 2.0, -1.0, 1.0]])
    return inputs.repeat(count, 1), torch.tensor([0, 1, 0, 1]).repeat(count)


def related(count):
    """Six features that two of them tell."""
    two = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [1.0, 1.0]]).repeat(count, 1)
    return (two @ torch.tensor([[1.0, 0.0, 2.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, -2.0, 0.0, 1.0]]),)


TREE, PATH = ("tree", lambda: dg.DisARMTree(2)), ("path", lambda: dg.ReinMax())
BITS, BIT_PATH = ("bits", lambda: dg.DisARM()), ("path", lambda: dg.GumbelSoftmax(1.0, latent="bernoulli"))
PROGRAMS = {  # by name: data, estimators that train it, one that is unbiased, one that enumerates
    "DVAE": (images, [TREE, PATH], lambda: dg.DisARMTree(2), lambda: dg.Exact(2)),
    "Game": (objects, [TREE, PATH], lambda: dg.RLOO(2), lambda: dg.Exact()),
    "Rationale": (texts, [BITS, BIT_PATH], lambda: dg.DisARM(), lambda: dg.Exact(latent="bernoulli")),
    "World": (walks, [TREE, PATH], lambda: dg.RLOO(2), lambda: dg.Exact()),
    "Cell": (labelled, [TREE, PATH], lambda: dg.RLOO(4), lambda: dg.Exact()),
    "Selector": (related, [TREE, PATH], lambda: dg.DisARMSB(), lambda: dg.Exact()),
}
HAND = ("by hand", None)
TRAINED = [(name, kind) for name, (_, kinds, _, _) in PROGRAMS.items() for kind in (HAND, *kinds)]
for name in ("Game", "Rationale"):  # whose values by hand contain terms that are there for their gradients only
    TRAINED.remove((name, HAND))


def test_the_page_has_six_programs():
    assert re.findall(r"^class (\w+?)(?:ByHand)?\(", "\n".join(CODE), re.MULTILINE)[::2] == list(PROGRAMS)
    assert len(re.findall("^## ", PAGE, re.MULTILINE)) == len(PROGRAMS)


@pytest.mark.parametrize(("name", "kind"), [pytest.param(n, k, id=f"{n}-{k[0]}") for n, k in TRAINED])
def test_a_program_trains(page, name, kind):
    """From its first to its last steps the loss falls by a third at least."""
    data = PROGRAMS[name][0](8)
    model = page[f"{name}ByHand"]() if kind[1] is None else page[name](kind[1]())
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    losses = []
    for _ in range(60):
        loss = model(*data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < sum(losses[:10]) / 1.5


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_programs_by_hand_run(page, name):
    model = page[f"{name}ByHand"]()
    model(*PROGRAMS[name][0](8)).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert sum(parameter.grad.abs().sum() for parameter in model.parameters()) > 0


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_the_mean_of_the_gradients_is_the_enumerated_one(page, name):
    """In all parameters together, and along the truth: within 5 standard errors of 64 calls."""
    data, _, unbiased, exact = PROGRAMS[name]
    model = page[name](exact()).double()
    inputs = [tensor.double() if tensor.is_floating_point() else tensor for tensor in data(8)]

    def gradient():
        model.zero_grad()
        model(*inputs).backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    truth = gradient()
    model.latent.estimator = unbiased()
    found = torch.stack([gradient() for _ in range(64)])
    error = found.mean(0) - truth
    variance = found.var(0) / len(found)
    assert error.square().sum() < 2.5 * variance.sum()
    along = (found - truth) @ truth
    assert along.mean().abs() < 5 * along.std() / len(found) ** 0.5
    assert along.std() < len(found) ** 0.5 / 5 * truth.square().sum()  # so that a gradient of zero would not pass


def test_annealing_is_a_line(page):
    model = page["Selector"]()
    for step in (0, 50, 500):
        page["anneal"](model, step)
        assert model.latent.estimator.path.temperature == max(0.3, 2.0 * 0.99**step)
