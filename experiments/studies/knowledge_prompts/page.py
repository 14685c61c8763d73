"""The page: what is answered with which prompts, what near prompts share, codes, links, and which claims hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experiments.collect.groups import Mean, mean
from experiments.errors import UserError
from experiments.studies import page
from experiments.studies.claims import BySeed, Claim, at_least
from experiments.studies.knowledge_prompts.maps import FIGURE
from experiments.studies.knowledge_prompts.runs import FIGURES, FLOATS, LENGTHS, PASSES, READ, ROWS
from experiments.studies.trials import Row, composed, read

VARIANTS = ("", *map(str, LENGTHS), "shared", FLOATS, *PASSES, "labels")
NAMES = {
    "shared": "one prompt for all",
    FLOATS: "vectors, as many",
    "disarm_tree": "DisARMTree(1 pair)",
    "rloo": "RLOO(2)",
    "straight_through": "StraightThrough(2)",
    "gumbel_softmax": "GumbelSoftmax(2)",
    "labels": "labels",
}
TIMES, PURITY, CODES, LINKS = 2.0, 3.0, 0.8, 0.9
"""What was to be shown: EM over that without and that of another's prompts, neighbours of one class over chance, EM of
codes over that of floats, EM of links over that with the right entity."""

Means = Mapping[tuple[str, str], Mapping[str, Mean]]
"""By part and variant."""


def write(out: Path) -> None:
    """Write the page of all rows that there are.

    Raises:
        UserError: where there are none.
    """
    rows = read(out / ROWS)
    found = means(rows)
    if not found:
        raise UserError(f"{out / ROWS} has no runs; carry out the part runs first.")
    text = page.render(
        Path(__file__).with_name("page.md.j2"),
        tables={part: lines(found, part) for part in ("prompts", "codes", "linking")},
        form=composed(["experiment=knowledge_codes"]),
        claims=[*claims(rows)],
        costs=costs(rows),
        figure=FIGURE if (out / FIGURE).exists() else "",
    )
    page.put(out / "knowledge_prompts.md", text)


def means(rows: Sequence[Row]) -> Means:
    """Over seeds, of what was measured."""
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: VARIANTS.index(row["variant"])):
        if row["part"] != "start":
            grouped[row["part"], row["variant"]].append(row)
    return {
        key: {name: mean([float(row[name]) for row in own]) for name in FIGURES if all(row[name] for row in own)}
        for key, own in grouped.items()
    }


def lines(found: Means, part: str) -> list[dict[str, str]]:
    """A line a variant, in hundredths; what was not measured is a dash."""
    made = []
    for (own, variant), measured in found.items():
        if own == part:
            line = {"name": NAMES.get(variant, f"{variant} vectors"), "seeds": str(measured["train_loss"].seeds)}
            line |= {n: page.with_error(measured[n]) if n in measured else "-" for n in FIGURES}
            line["bytes"] = f"{measured['bytes'].mean:,g}" if "bytes" in measured else "-"
            made.append(line)
    return made


def claims(rows: Sequence[Row]) -> Iterator[Claim]:
    """What can be said of the rows that there are."""

    def own(part: str, variant: str, name: str) -> BySeed:
        chosen = [row for row in rows if (row["part"], row["variant"]) == (part, variant) and row[name]]
        return {row["seed"]: float(row[name]) for row in chosen}

    floats = ("prompts", str(READ))
    em = own(*floats, "em")
    for name, label in (("em_without", "none"), ("em_other", "another's")):
        yield from at_least(f"learned facts: {READ} vectors over {label}", em, own(*floats, name), TIMES)
    near, chance = own(*floats, "same_class"), own(*floats, "same_class_chance")
    yield from at_least("nearest prompts of one class, over chance", near, chance, PURITY)
    for variant in PASSES:
        vectors = own("codes", FLOATS, "em")
        yield from at_least(f"32 bits by {NAMES[variant]} over vectors", own("codes", variant, "em"), vectors, CODES)
    for variant in PASSES:
        linked, right = (own("linking", variant, name) for name in ("em", "em_right"))
        yield from at_least(f"links by {NAMES[variant]} over the right entity", linked, right, LINKS)


def costs(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Steps and minutes of a run, by part."""
    made = []
    for part in dict.fromkeys(row["part"] for row in sorted(rows, key=_place)):
        own = [row for row in rows if row["part"] == part]
        steps = " or ".join(f"{count:,}" for count in sorted({int(row["steps"]) for row in own}))
        minutes = mean([float(row["seconds"]) / 60 for row in own if row["seconds"]]).mean
        made.append({"part": part, "runs": str(len(own)), "steps": steps, "minutes": f"{minutes:.1f}"})
    return made


def _place(row: Row) -> int:
    return ("start", "prompts", "codes", "linking").index(row["part"])
