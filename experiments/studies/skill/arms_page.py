"""What the page says of language models that have read the graph: exact match by arm, and which claims hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from experiments.collect.groups import mean
from experiments.studies import page
from experiments.studies.claims import BySeed, Claim, above, at_least, within
from experiments.studies.skill.arms import ARMS, SHARES
from experiments.studies.trials import Row

TITLES = {
    "start": "text",
    "text": "text, twice as long",
    "triples": "text, then text and triples",
    "sentences": "text, then text and sentences",
}
TIMES = 2.0
"""What triples are to be over either arm of text."""
NEAR = 0.03
"""What triples and sentences may differ by, and an arm move multi-hop questions by."""
ABOVE = 0.2
"""What paths are to be above the language model."""
PATHS = "RLOO(8)"
"""The estimator of paths that the language model is compared with: the plainest."""
SHOWN = ("known", *SHARES[:6])


def table(rows: Sequence[Row], split: str) -> list[dict[str, str]]:
    """A line an arm of a split, in hundredths, and one of the most frequent answers."""
    lines = []
    for arm in ARMS:
        own = {name: [*by_seed(rows, split, arm, name).values()] for name in (*SHOWN, "read_steps")}
        if seeds := len(own.pop("read_steps")):
            line = {"arm": TITLES[arm], "seeds": str(seeds)}
            lines.append(line | {name: page.with_error(mean(each)) if each else "-" for name, each in own.items()})
    frequent = {"arm": "the most frequent answer of the path", "seeds": "-"} | dict.fromkeys(SHOWN, "-")
    for hops in (1, 2, 3):
        if found := [
            float(row[f"majority_{hops}"]) for row in rows if row["split"] == split and row[f"majority_{hops}"]
        ]:
            frequent[f"held_out_{hops}"] = f"{100 * found[0]:.1f}"
    return [*lines, frequent]


def claims(rows: Sequence[Row], split: str, paths: BySeed) -> list[Claim]:
    """The comparisons that can be made of what there is.

    Args:
        rows: of all runs.
        split: whose questions are compared.
        paths: 2-hop shares of the study of paths, by seed; none where it was not made.
    """

    def own(arm: str, hops: int) -> BySeed:
        return by_seed(rows, split, arm, f"held_out_{hops}")

    def made() -> Iterator[Claim]:
        for other in ("start", "text"):
            yield from at_least(f"1 hop: triples over {TITLES[other]}", own("triples", 1), own(other, 1), TIMES)
        yield from within("1 hop: triples over sentences", own("triples", 1), own("sentences", 1), NEAR)
        for hops in (2, 3):
            aim = f"{hops} hops barely move: triples over text as long"
            yield from within(aim, own("triples", hops), own("text", hops), NEAR)
        yield from above(f"2 hops: paths by {PATHS} over triples", paths, own("triples", 2), ABOVE)

    return [*made()]


def by_seed(rows: Sequence[Row], split: str, arm: str, name: str) -> BySeed:
    """A figure of an arm, where it was measured."""
    return {row["seed"]: float(row[name]) for row in rows if (row["split"], row["arm"]) == (split, arm) and row[name]}


def costs(rows: Sequence[Row]) -> dict[str, str]:
    """Steps and minutes of a run, over all of them."""
    found: dict[str, str] = {}
    for part in ("read", "asked") if rows else ():
        steps = sorted({int(row[f"{part}_steps"]) for row in rows})
        found[f"{part}_steps"] = " or ".join(f"{count:,}" for count in steps)
        found[f"{part}_minutes"] = f"{fmean(float(row[f'{part}_seconds']) for row in rows) / 60:.0f}"
    return found
