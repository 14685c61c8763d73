"""Which estimator for this f and these logits? Measured, not guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from discretegrad.analysis.compare import compare
from discretegrad.analysis.comparison import Comparison
from discretegrad.analysis.recommendation import Recommendation
from discretegrad.analysis.replicator import named
from discretegrad.core import Estimator
from discretegrad.coupling import NearlyDistinct
from discretegrad.estimators import ARMS, CARMS, RLOO, DisARM, DisARMSB, DisARMTree, DoubleCV, Flow, MuProp


@dataclass(frozen=True)
class Choice:
    """The estimator that `Auto` chose, and why; printed, it is a table of 80 columns and the reason."""

    estimator: Estimator
    recommendation: Recommendation
    """Its name, whether it leads, and the reason."""
    comparison: Comparison
    """All that was measured, and in `failures` what could not be."""

    @property
    def name(self) -> str | None:
        """Of the estimator, among the candidates."""
        return self.recommendation.name

    @property
    def leads(self) -> bool:
        """Whether all others are worse by more than the noise of the measurement."""
        return self.recommendation.leads

    def __str__(self) -> str:
        return str(self.comparison)


@dataclass(frozen=True)
class Auto:
    """Chooses among estimators by a short comparison on the user's own f and batch, which needs torch alone.

    It is `analysis.compare` with few replicates, without a truth unless biases count, and with its recommendation: the
    candidate that leads, or of those whose number may be the least the one of fewest evaluations.

    Args:
        candidates: estimators in a sequence, or in a mapping from names, all of one latent. By default of 4
            evaluations each: `RLOO`; `DisARMTree`, `DisARMSB`, `Flow` and `CARMS` for categories, `DisARM` and `ARMS`
            for bits; and `MuProp` and `DoubleCV`, which fail, and say so, where f has no gradient.
        replicates: how many gradients of every candidate at most, at least 64.
        criterion: "variance", "variance_evaluations" (the default: for equal evaluations), "variance_time" (for equal
            time; the only one that the seed does not determine) or "mse" (of one estimate, as `average=1`).
        confidence: of all claims together; that of a lead is one.
        average: how many estimates the optimiser averages: biased candidates are then allowed, and all are compared by
            the mean squared error of the mean of so many, whatever it costs. None: biased ones are refused.
        rounds: how often each candidate is timed; 0: never.
        latent: of the default candidates.
        seed: of everything random in it.

    Raises:
        TypeError, ValueError: from the call, for what cannot be meant, if no candidate could be measured, and for an f
            that mixes the points of a call: for that none is unbiased.

    Example:
        >>> import torch, discretegrad as dg
        >>> f = lambda points: 100 + (points * torch.arange(4.0)).sum((-1, -2)).square()
        >>> choice = dg.Auto([dg.Reinforce(2), dg.RLOO(2)])(f, torch.zeros(5, 3, 4))
        >>> choice.estimator == dg.RLOO(2), choice.leads
        (True, True)
    """

    candidates: Sequence[Estimator] | Mapping[str, Estimator] | None = None
    replicates: int = 128
    criterion: str | None = None
    confidence: float = 0.95
    average: int | None = None
    rounds: int = 9
    latent: str = "categorical"
    seed: int = 0

    def __call__(
        self,
        f: Callable[[Tensor], Tensor],
        logits: Tensor,
        mask: Tensor | None = None,
        context: Any = None,
        on: str = "points",
    ) -> Choice:
        """Measure all candidates.

        Args:
            f, logits: as of `analysis.compare`, whose promises hold: nothing of the user's is changed.
            mask, context, on: as in a call of an estimator.
        """
        candidates = named(_defaults(self.latent) if self.candidates is None else self.candidates)
        biased = [name for name, one in candidates.items() if isinstance(one, Estimator) and not one.unbiased]
        by_error = self.average is not None or self.criterion == "mse"
        if biased and not by_error:
            raise ValueError(
                f"{biased[0]} is biased, which its variance does not show; leave it out, or say by average= how many "
                "estimates your optimiser averages, and mean squared errors are compared."
            )
        found = compare(
            f,
            logits,
            candidates,
            replicates=self.replicates,
            confidence=self.confidence,
            average=self.average,
            criterion=self.criterion or (None if by_error else "variance_evaluations"),
            seed=self.seed,
            rounds=self.rounds,
            truth=None if by_error else False,
            on=on,
            mask=mask,
            context=context,
            progress=False,
        )
        chosen = found.recommendation
        if chosen.name is None:
            each = "; ".join(f"{name}: {failure}" for name, failure in found.failures.items())
            raise ValueError(f"{chosen.sentence} {each}".rstrip())
        return Choice(candidates[chosen.name], chosen, found)


def _defaults(latent: str) -> list[Estimator]:
    of_latent: list[Estimator] = (
        [DisARM(2), ARMS(4)]
        if latent == "bernoulli"
        else [DisARMTree(2), DisARMSB(2), Flow(NearlyDistinct(2)), CARMS(4)]
    )
    return [RLOO(4, latent), *of_latent, MuProp(3, latent), DoubleCV(4, latent=latent)]
