"""Which estimators are measured, and with what their modules learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import discretegrad as dg
from experiments.parts.networks import side_network


@dataclass(frozen=True)
class Candidate:
    """An estimator to measure, and where it is from: "published", "ours" or "biased"."""

    label: str
    origin: str
    estimator: dg.Estimator
    trainee: dg.Estimator | None = None
    """The cheapest estimator with the same modules, with which they learn."""
    patience: float = 1.0
    """The share of the steps that it learns for."""


def candidates(shape: tuple[int, int], own: dg.Estimator) -> list[Candidate]:
    """All that can be measured at 2, 4 or 8 evaluations of f.

    Args:
        shape: V and C.
        own: the run's estimator; its modules serve where they are of the kind that is wanted.
    """
    nvil = dg.NVIL(side_network(100, ()), normalise=False).learners[0]
    linear = dg.nn.LinearControlVariate(side_network(512, shape))
    taylor = dg.DoubleCV(learn=True).learners[0]
    relaxed = dg.REBAR(learn=True, tied=True).learners[0]
    relax = dg.RELAX(side_network(100, ()), tied=True).learners[0]
    quadratic = dg.nn.QuadraticControlVariate(shape, side_network(128, (65,)))
    for learner in own.learners:
        if isinstance(learner, dg.nn.QuadraticControlVariate):
            quadratic = learner
        if isinstance(learner, dg.nn.LinearControlVariate):
            linear = learner

    def score(points: int, control_variate: Any) -> dg.Estimator:
        return dg.Composition(dg.Independent(points), dg.Score(), control_variate)

    # Its network sees all S (S - 1) V C neighbours of the points, at ten times the time of a step.
    stein = dg.RODEO(2, network=dg.nn.LearnedStein().network)
    listed = [Candidate("RODEO(2), network, a tenth of the steps", "published", stein, patience=0.1)]
    for s in (2, 4, 8):
        pairs = s // 2
        listed += [
            Candidate(f"RLOO({s})", "published", dg.RLOO(s)),
            Candidate(f"NVIL({s}), not normalised", "published", score(s, nvil), score(1, nvil)),
            Candidate(f"UnorderedSet({s})", "published", dg.UnorderedSet(s)),
            Candidate(f"SumAndSample({s - 1}), no baseline", "published", dg.SumAndSample(s - 1)),
            Candidate(f"CARMS({s})", "published", dg.CARMS(s)),
            Candidate(f"DisARM-IW, {pairs} averaged", "published", dg.DisARMIW(num_pairs=pairs, alpha=1.0)),
            Candidate(f"DisARM-SB, {pairs} averaged", "published", dg.DisARMSB(pairs, "ascending", alpha=1.0)),
            Candidate(f"DisARM-Tree, {pairs} averaged", "published", dg.DisARMTree(pairs, alpha=1.0)),
            Candidate(f"MuProp({s - 1})", "published", dg.MuProp(s - 1)),
            Candidate(f"DoubleCV({s}), learned", "published", score(s, taylor), score(2, taylor)),
            Candidate(f"RODEO({s})", "published", dg.RODEO(s)),
            Candidate(f"REBAR({pairs}), tied, learned", "published", score(pairs, relaxed), score(1, relaxed)),
            Candidate(f"RELAX({pairs}), tied", "published", score(pairs, relax), score(1, relax)),
            Candidate(f"Flow, {pairs} nearly distinct", "ours", dg.Flow(dg.NearlyDistinct(pairs))),
            Candidate(
                f"Linear, RLOO({s})",
                "ours",
                dg.RLOO(s, control_variate=linear),
                dg.RLOO(control_variate=linear),
            ),
            Candidate(
                f"Linear, Flow, {pairs} nearly distinct",
                "ours",
                dg.Flow(dg.NearlyDistinct(pairs), linear),
                dg.RLOO(control_variate=linear),
            ),
            Candidate(f"Quadratic({s - 1})", "ours", score(s - 1, quadratic), score(1, quadratic)),
        ]
        if pairs > 1:
            listed.append(Candidate(f"DisARM-Tree, {pairs} with cross terms", "ours", dg.DisARMTree(pairs)))
        listed += [
            Candidate(f"StraightThrough({s})", "biased", dg.StraightThrough(s)),
            Candidate(f"Gumbel-softmax({s}), 1.0, hard", "biased", dg.GumbelSoftmax(1.0, True, s)),
            Candidate(f"Gumbel-Rao({s}), 10, 1.0", "biased", dg.GumbelRao(10, 1.0, s)),
            Candidate(f"GappedST({s})", "biased", dg.GappedST(num_samples=s)),
            Candidate(f"ReinMax({s})", "biased", dg.ReinMax(num_samples=s)),
        ]
    return listed
