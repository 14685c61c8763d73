"""The estimators by name, and the whole library in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from discretegrad.core import Estimator
from discretegrad.estimators.augmented import ARM, ARS, ARSM, ARSMPlus, ARSPlus
from discretegrad.estimators.bound import VIMCO, DisARMBound
from discretegrad.estimators.copulas import ARMS, CARMS
from discretegrad.estimators.coupled import DisARM, DisARMIW, DisARMSB, DisARMTree, Flow
from discretegrad.estimators.gradient_of_f import RODEO, DoubleCV, MuProp
from discretegrad.estimators.joint import LocalExpectation, SumAndSample, UnorderedSet
from discretegrad.estimators.pathwise import (
    IMLE,
    ArgmaxST,
    GappedST,
    GumbelRao,
    GumbelSoftmax,
    ReinMax,
    ReinMaxRao,
    RelaxedReinMax,
    StraightThrough,
)
from discretegrad.estimators.relaxed import REBAR
from discretegrad.estimators.score_function import RLOO, Exact, Reinforce, VarGrad

ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "reinforce": Reinforce,
    "rloo": RLOO,
    "disarm": DisARM,
    "disarm_iw": DisARMIW,
    "disarm_sb": DisARMSB,
    "disarm_tree": DisARMTree,
    "flow": Flow,
    "arm": ARM,
    "ars": ARS,
    "ars_plus": ARSPlus,
    "arsm": ARSM,
    "arsm_plus": ARSMPlus,
    "muprop": MuProp,
    "double_cv": DoubleCV,
    "rodeo": RODEO,
    "rebar": REBAR,
    "exact": Exact,
    "straight_through": StraightThrough,
    "argmax_st": ArgmaxST,
    "gumbel_softmax": GumbelSoftmax,
    "var_grad": VarGrad,
    "local_expectation": LocalExpectation,
    "sum_and_sample": SumAndSample,
    "unordered_set": UnorderedSet,
    "vimco": VIMCO,
    "disarm_bound": DisARMBound,
    "arms": ARMS,
    "carms": CARMS,
    "gumbel_rao": GumbelRao,
    "gapped_st": GappedST,
    "reinmax": ReinMax,
    "reinmax_rao": ReinMaxRao,
    "relaxed_reinmax": RelaxedReinMax,
    "imle": IMLE,
}
"""The names that `expectation` knows."""

_DEFAULTS = {make: make() for make in ESTIMATORS.values()}
"""Made once, for torch.compile takes an estimator as a constant, and cannot make one."""


def expectation(
    f: Callable[[Tensor], Tensor],
    logits: Tensor | Distribution,
    estimator: str | Estimator = "disarm_tree",
    **call: Any,
) -> Tensor:
    """Estimate `E f(z)`, `[*batch]`, with the estimator's gradient attached: the whole library in one line.

    Args:
        f: maps points `[S, *batch, *event, C]` to values `[S, *batch]`.
        logits: `[*batch, *event, C]`, or a distribution that has them.
        estimator: a name in `ESTIMATORS`, made with its defaults, or an estimator.
        call: `generator`, `mask`, `context`, `validate`, `on` or `stream`, as for a call of the estimator; with
            `on="ids"` f maps ids, int64 `[S, *batch, *event]`.

    Raises:
        ValueError: for a name that is not known.

    Example:
        >>> import torch, discretegrad as dg
        >>> logits = torch.zeros(3, 4, requires_grad=True)
        >>> dg.expectation(lambda points: points[..., 0].sum(-1), logits, estimator="rloo").backward()
    """
    return named(estimator)(f, logits, **call)


def named(estimator: str | Estimator, **arguments: Any) -> Estimator:
    """The estimator of that name, made with the arguments; or the estimator that was given.

    Raises:
        TypeError, ValueError: for a name that is not known, or arguments to what is made already.
    """
    if isinstance(estimator, str):
        if estimator not in ESTIMATORS:
            raise ValueError(f"no estimator is called {estimator!r}; the names are {', '.join(ESTIMATORS)}.")
        make = ESTIMATORS[estimator]
        return make(**arguments) if arguments or make not in _DEFAULTS else _DEFAULTS[make]
    if not isinstance(estimator, Estimator):
        raise TypeError(f"estimator is a name or an estimator such as RLOO(), not {estimator!r}.")
    if arguments:
        raise TypeError(f"{', '.join(arguments)} belong to an estimator given by its name; give them to {estimator!r}.")
    return estimator
