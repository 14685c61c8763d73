"""What the page says of language models that have read the graph: exact match by arm, and which claims hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from experiments.collect.groups import Mean, mean
from experiments.studies.skill.arms import ARMS, SHARES
from experiments.studies.trials import Row

TITLES = {
    "start": "text",
    "text": "text, twice as long",
    "triples": "text, then text and triples",
    "sentences": "text, then text and sentences",
}
NEAR = 3.0
"""Points that triples and sentences may differ by, or an arm move multi-hop questions by."""
ABOVE = 20.0
"""Points that paths are to be above."""
PATHS = "RLOO(8)"
"""The estimator of paths that SKILL alone is compared with: the plainest."""

Shares = Mapping[str, Mapping[int, Mapping[str, float]]]
"""In hundredths, by arm, seed and figure."""


class Claim(NamedTuple):
    """A comparison, and whether it came out as the aim has it."""

    aim: str
    found: str
    holds: str


def shares(rows: Sequence[Row], split: str) -> Shares:
    """Of a split, those figures that were measured."""
    found: dict[str, dict[int, dict[str, float]]] = {arm: {} for arm in ARMS}
    for row in rows:
        if row["split"] == split:
            own = {name: 100 * float(row[name]) for name in (*SHARES, "known") if row[name]}
            found[row["arm"]][int(row["seed"])] = own
    return {arm: own for arm, own in found.items() if own}


def table(found: Shares) -> list[dict[str, str | int]]:
    """A line an arm, and one of the most frequent answers."""
    lines: list[dict[str, str | int]] = []
    for arm, seeds in found.items():
        line: dict[str, str | int] = {"arm": TITLES[arm], "seeds": len(seeds)}
        line |= {name: _over(seeds, name) for name in ("known", *SHARES[:6])}
        lines.append(line)
    first = next(iter(found.values()))
    frequent: dict[str, str | int] = {"arm": "the most frequent answer of the path", "seeds": "-"}
    frequent |= dict.fromkeys(("known", *SHARES[:6]), "-")
    frequent |= {f"held_out_{hops}": _over(first, f"majority_{hops}") for hops in (1, 2, 3)}
    return [*lines, frequent]


def claims(found: Shares, paths: Sequence[float]) -> list[Claim]:
    """The comparisons that can be made of what there is.

    Args:
        found: of a split.
        paths: 2-hop shares of the study of paths, in hundredths, a seed each; none where it was not made.
    """
    made: list[Claim] = []
    for other in ("start", "text"):
        if margin := _paired(found, "held_out_1", "triples", other, times=2):
            of = fmean(own["held_out_1"] for own in found[other].values())
            held = "yes" if margin.mean >= 0 else "no"
            ratio = f"{(margin.mean + 2 * of) / of:.2f} times" if of else "where that has none"
            made.append(
                Claim(f"1 hop: triples at least twice {TITLES[other]}", f"{ratio}, {_shown(margin)} above twice", held)
            )
    if apart := _paired(found, "held_out_1", "triples", "sentences"):
        held = "yes" if abs(apart.mean) <= NEAR else "no"
        made.append(Claim(f"1 hop: triples within {NEAR:g} of sentences", f"{_shown(apart)} above", held))
    for hops in (2, 3):
        if moved := _paired(found, f"held_out_{hops}", "triples", "text"):
            held = "yes" if abs(moved.mean) <= NEAR else "no"
            aim = f"{hops} hops barely move: triples within {NEAR:g} of text as long"
            made.append(Claim(aim, f"{_shown(moved)} above", held))
    if paths and "triples" in found and all("held_out_2" in own for own in found["triples"].values()):
        ours, theirs = mean(list(paths)), mean([own["held_out_2"] for own in found["triples"].values()])
        error = None if None in (ours.error, theirs.error) else (ours.error**2 + theirs.error**2) ** 0.5  # type: ignore[operator]
        above = Mean(ours.mean - theirs.mean, error, min(ours.seeds, theirs.seeds))
        held = "yes" if above.mean >= ABOVE else "no"
        aim = f"2 hops: a path that is looked up, by {PATHS}, at least {ABOVE:g} above triples"
        made.append(Claim(aim, f"{_shown(above)} above", held))
    return made


def costs(rows: Sequence[Row]) -> dict[str, str]:
    """Steps and minutes of a run, over all of them."""
    found: dict[str, str] = {}
    for part in ("read", "asked"):
        steps = sorted({int(row[f"{part}_steps"]) for row in rows})
        found[f"{part}_steps"] = " or ".join(f"{count:,}" for count in steps)
        found[f"{part}_minutes"] = f"{fmean(float(row[f'{part}_seconds']) for row in rows) / 60:.0f}" if rows else ""
    return found


def _paired(found: Shares, name: str, arm: str, other: str, times: int = 1) -> Mean | None:
    """Of an arm over so many times another, seed by seed; None where no seed has both."""
    one, two = found.get(arm, {}), found.get(other, {})
    both = sorted(seed for seed in one.keys() & two.keys() if name in one[seed] and name in two[seed])
    return mean([one[seed][name] - times * two[seed][name] for seed in both]) if both else None


def _over(seeds: Mapping[int, Mapping[str, float]], name: str) -> str:
    values = [own[name] for own in seeds.values() if name in own]
    return _shown(mean(values)) if values else "-"


def _shown(value: Mean) -> str:
    return f"{value.mean:.1f}" + ("" if value.error is None else f" ± {value.error:.1f}")
