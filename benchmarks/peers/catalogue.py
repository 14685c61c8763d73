"""Everything that the peers' table has a row of. Packages are imported when their row is built, in its own process."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

import discretegrad as dg
from benchmarks.peers import by_hand, distributions, masks
from benchmarks.steps import Step

Run = Callable[[], object]


class Peer(NamedTuple):
    """A row of the table."""

    points: int
    ours: str
    """The row that it is compared with."""
    build: Callable[[Step], Run]
    package: str | None = None
    """Its name on PyPI, where it is one."""
    inputs: str = "points"
    """What the decoder is given."""


def limit(points: int, ids: bool = True) -> Peer:
    """Fixed points and a fixed gradient; without ids where f must be differentiable in the points."""

    def build(step: Step) -> Run:
        given = step.given(points, ids)
        return lambda: step.limit(*given)

    return Peer(points, "", build)


def ours(points: int, make: Callable[[], dg.Estimator], name: str, inputs: str = "points") -> Peer:
    """One of the library's estimators."""

    def build(step: Step) -> Run:
        estimator = make()
        step.adopt(estimator)
        return lambda: step(estimator)

    return Peer(points, name, build, inputs=inputs)


def written(name: str, loss: Callable[[Step], Tensor]) -> Peer:
    """Code in this folder that makes the loss of a step."""
    return Peer(2, name, lambda step: lambda: step.finish(loss(step)))


def package(points: int, name: str, pypi: str, module: str) -> Peer:
    """A package, through a module of this folder."""

    def build(step: Step) -> Run:
        run: Run = importlib.import_module(f"benchmarks.peers.{module}").build(step)
        return run

    return Peer(points, name, build, pypi)


PEERS = {
    "limit, 1 point": limit(1, ids=False),
    "limit, 2 points": limit(2),
    "RLOO(2)": ours(2, lambda: dg.RLOO(2), "RLOO(2)"),
    "RLOO(2), ids": ours(2, lambda: dg.RLOO(2), "RLOO(2)", "ids"),
    "RLOO by hand": written("RLOO(2)", by_hand.loss),
    "RLOO, torch.distributions": written("RLOO(2)", distributions.loss),
    "RLOO, torch.distributions, unchecked": written("RLOO(2)", lambda step: distributions.loss(step, validate=False)),
    "RLOO, storchastic": package(2, "RLOO(2)", "storchastic", "with_storchastic"),
    "Reinforce(2, RunningMean())": ours(2, lambda: dg.Reinforce(2, dg.nn.RunningMean()), "Reinforce(2, RunningMean())"),
    "TraceGraph_ELBO, pyro": package(2, "Reinforce(2, RunningMean())", "pyro-ppl", "with_pyro"),
    "DisARMTree()": ours(2, dg.DisARMTree, "DisARMTree()"),
    "DisARMTree(), ids": ours(2, dg.DisARMTree, "DisARMTree()", "ids"),
    "DisARM-Tree, tensors of masks": written("DisARMTree()", lambda step: masks.loss(step, "balanced")),
    "DisARMSB()": ours(2, dg.DisARMSB, "DisARMSB()"),
    "DisARM-SB, tensors of masks": written("DisARMSB()", lambda step: masks.loss(step, "sticks")),
    "ReinMax()": ours(1, dg.ReinMax, "ReinMax()"),
    "ReinMax, reinmax": package(1, "ReinMax()", "reinmax", "with_reinmax"),
}


def title(name: str) -> str:
    """With the version of the package that was measured, or that it is not there."""
    pypi = PEERS[name].package
    if pypi is None:
        return name
    try:
        return f"{name} {importlib.metadata.version(pypi)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{name} (not installed)"
