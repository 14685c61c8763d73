"""Which estimator to use, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from discretegrad.analysis.estimate import Estimate
from discretegrad.analysis.ranking import Ranking
from discretegrad.analysis.result import Result

WORDS = {
    "variance_time": "variance x time",
    "variance_evaluations": "variance x evaluations of f",
    "variance": "variance",
    "mse": "mean squared error",
}


@dataclass(frozen=True)
class Recommendation:
    """An estimator, the reason, and the numbers behind it."""

    name: str | None
    """None where no unbiased estimator could be measured, and where none is unbiased. Biased only where all are ranked
    by what averaging leaves."""
    leads: bool
    """Whether all others are worse by more than noise."""
    sentence: str
    criterion: str
    numbers: dict[str, Estimate]
    """What the criterion compared."""

    def __str__(self) -> str:
        return self.sentence


def recommend(
    results: Mapping[str, Result], ranking: Ranking, by_error: Ranking, confidence: float, asked: bool = False
) -> Recommendation:
    """The cheapest of the unbiased estimators whose number may be the least, and what to think of the biased ones.

    Args:
        results: of all.
        ranking: of the unbiased ones, or of all by the mean squared error of the mean of some estimates.
        by_error: of all, by mean squared error; empty without a truth.
        confidence: of both.
        asked: whether the user chose what is ranked by.
    """
    word = WORDS[ranking.criterion]
    if ranking.criterion == "mse":
        word += f" after averaging {ranking.average} estimates" if ranking.average > 1 else ""
    if not ranking.numbers:
        return Recommendation(
            None, False, "No unbiased estimator was measured, so none is recommended.", ranking.criterion, {}
        )
    leaders = ranking.leaders  # in ascending order, so that of equally many evaluations the least is found
    name = min(leaders, key=lambda leader: results[leader].evaluations.value)
    others = [other for other in ranking.numbers if other != name]
    leads = len(leaders) == 1 and bool(others)
    if not others:
        kind = "estimator" if ranking.criterion == "mse" else "unbiased estimator"
        sentence = f"{name} is the only {kind} that was measured."
    elif leads:
        ratio = _ratio(ranking.numbers[name], ranking.numbers[others[0]])
        sentence = (
            f"Use {name}: its {word} is {ratio} times that of {others[0]}, the next, and it beats all others with "
            f"{confidence:.0%} confidence."
        )
    else:
        equal = ", ".join(leader for leader in leaders if leader != name)
        sentence = (
            f"Use {name}: nobody leads by more than noise (confidence {confidence:.0%}), and of those whose {word} may "
            f"be the least it takes the fewest evaluations of f. {equal} may be as good."
        )
    if not asked and ranking.criterion == "variance_evaluations" and all(one.seconds for one in results.values()):
        sentence += " Times are not known well enough to rank by; more rounds would tell."
    sentence += _time(results[name]) + _doubt(results)
    if ranking.criterion != "mse":
        sentence += _biased(results, by_error, name)
    return Recommendation(name, leads, sentence, ranking.criterion, dict(ranking.numbers))


def _time(result: Result) -> str:
    """How long it takes to know the gradient."""
    seconds = result.seconds_to(0.1)
    if seconds is None or not 0 < seconds < float("inf"):
        return ""
    return f" Averaged for {seconds:.2g} s on this batch, its error is a tenth of the gradient's norm."


def _doubt(results: Mapping[str, Result]) -> str:
    """Those that say they are unbiased, and look otherwise by more than the level over their number (Bonferroni)."""
    judged = {name: r.bias_p_value for name, r in results.items() if r.unbiased and r.bias_p_value is not None}
    found = [name for name, p_value in judged.items() if p_value <= max(0.001 / len(judged), 1e-4)]
    if not found:
        return ""
    return (
        f" Beware: {', '.join(found)} should be unbiased, but the mean is off by more than noise; look for randomness "
        "or state in f."
    )


def _biased(results: Mapping[str, Result], by_error: Ranking, name: str) -> str:
    """Whether a biased one is nearer to the truth, and for how long."""
    chosen = results[name]
    closer = [
        other
        for other in by_error.numbers
        if not results[other].unbiased and name in by_error.numbers and by_error.beats(other, name)
    ]
    if not closer:
        return ""
    other = results[closer[0]]
    assert other.bias2 is not None
    share = (max(0.0, other.bias2.value) / chosen.norm2) ** 0.5 if chosen.norm2 > 0 else float("inf")
    sentence = (
        f" A single estimate of {other.name} is nearer to the truth, with a bias of {share:.1%} of the gradient's norm"
    )
    if other.bias2.value > 2 * other.bias2.error:
        averaged = (chosen.variance.value - other.variance.value) / other.bias2.value
        sentence += f" that does not average out: from about {averaged:.2g} averaged estimates on {name} is nearer"
    return sentence + "."


def _ratio(one: Estimate, other: Estimate) -> str:
    ratio = one.value / other.value if other.value > 0 else 1.0
    relative = sum((e.error / e.value) ** 2 for e in (one, other) if e.value > 0) ** 0.5
    return f"{ratio:.2f} +- {ratio * relative:.2g}"
