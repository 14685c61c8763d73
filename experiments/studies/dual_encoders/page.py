"""The page: figures over numbers of pairs, all ties, and what gates found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.collect.groups import Mean, mean
from experiments.curves import put
from experiments.studies import page
from experiments.studies.dual_encoders import maps
from experiments.studies.dual_encoders.runs import MODULES, PRICES, ROWS, TIED, VARIANTS
from experiments.studies.trials import read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, str]]
FIGURE = "figures/dual-encoders.png"
SHOWN = 5
"""Ties at either end of the list that are shown besides the paper's variants."""


def write(out: Path) -> None:
    """Write the page of all rows that there are."""
    rows = read(out / ROWS)
    found = means(rows, "mrr")
    sizes = sorted({size for size, _ in found})
    text = page.render(
        Path(__file__).with_name("page.md.j2"),
        variants=VARIANTS,
        sizes=sizes,
        curve={(size, name): _points(found.get((size, name))) for size in sizes for name in VARIANTS},
        counts={size: max(found[key].seeds for key in found if key[0] == size) for size in sizes},
        ratios=[(size, _ratios(found, size)) for size in sizes if all((size, name) in found for name in VARIANTS)],
        ties={size: shown for size in sizes if (shown := _ties(rows, size))},
        worth={size: shown for size in sizes if (shown := worth(rows, size))},
        searches={size: shown for size in sizes if (shown := _searches(rows, size))},
        prices=PRICES,
        figure=FIGURE,
        maps=maps.FIGURE if (out / maps.FIGURE).exists() else None,
    )
    page.put(out / "dual_encoders.md", text)
    (out / "figures").mkdir(exist_ok=True)
    put(out / FIGURE, draw(found, sizes))


def means(rows: Rows, measure: str) -> dict[tuple[int, str], Mean]:
    """Over seeds, by the number of pairs and what is shared."""
    values = defaultdict(list)
    for row in rows:
        if row["part"] in ("variants", "ties"):
            values[int(row["pairs"]), row["variant"]].append(float(row[measure]))
    return {key: mean(each) for key, each in values.items()}


def modules(tie: str) -> tuple[str, ...]:
    """Those that a tie shares."""
    named = {name: shared for shared, name in TIED.items()}
    return named.get(tie, tuple(tie.split("+")))


def copies(tie: str) -> int:
    """Modules of which a tie has two copies."""
    return len(MODULES) - len(modules(tie))


def draw(found: Mapping[tuple[int, str], Mean], sizes: Sequence[int]) -> Figure:
    """MRR over the number of pairs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for (name, label), marker in zip(VARIANTS.items(), "os^vD", strict=True):
        at = [(size, found[size, name]) for size in sizes if (size, name) in found]
        errors = [2 * (value.error or 0.0) for _, value in at]
        axis.errorbar(
            [size for size, _ in at], [value.mean for _, value in at], errors, label=label, marker=marker, markersize=4
        )
    axis.set(xscale="log", xlabel="pairs to train on", ylabel="MRR among 3,000 held-out documents")
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def _points(value: Mean | None) -> str:
    """In hundredths."""
    return "-" if value is None else page.number(100 * value.mean, None if value.error is None else 100 * value.error)


def _ratios(found: Mapping[tuple[int, str], Mean], size: int) -> dict[str, float]:
    return {name: found[size, name].mean / found[size, "sde"].mean for name in VARIANTS}


def _ties(rows: Rows, size: int) -> list[dict[str, Any]]:
    """The best and the worst ties, and the paper's variants, in order; empty where they have not been trained."""
    mrr, loss = means(rows, "mrr"), means(rows, "train_loss")
    order = sorted((key for key in mrr if key[0] == size), key=lambda key: -mrr[key].mean)
    if len(order) <= len(VARIANTS):
        return []
    listed = [
        {
            "place": place,
            "tie": tie,
            "copies": copies(tie),
            "mrr": _points(mrr[size, tie]),
            "loss": loss[size, tie].mean,
        }
        for place, (_, tie) in enumerate(order, start=1)
    ]
    ends = {*range(SHOWN), *range(len(listed) - SHOWN, len(listed))}
    return [row for place, row in enumerate(listed) if place in ends or row["tie"] in VARIANTS]


def worth(rows: Rows, size: int) -> list[dict[str, Any]]:
    """What sharing a module adds to the MRR, over all ties of the others; empty where some tie has not been trained.

    Over the seeds with which all have been.
    """
    by_seed: dict[str, dict[frozenset[str], float]] = defaultdict(dict)
    for row in rows:
        if row["part"] in ("variants", "ties") and int(row["pairs"]) == size and row["variant"] != "ade_fte":
            by_seed[row["seed"]][frozenset(modules(row["variant"]))] = float(row["mrr"])
    whole = [found for found in by_seed.values() if len(found) == 2 ** len(MODULES)]
    listed = []
    for module in MODULES if whole else ():
        gains = [
            mean([found[tie] - found[tie - {module}] for found in whole]).mean for tie in whole[0] if module in tie
        ]
        listed.append({"module": module, "mean": mean(gains).mean, "least": min(gains), "most": max(gains)})
    return [row | {"seeds": len(whole)} for row in listed]


def _searches(rows: Rows, size: int) -> list[dict[str, Any]]:
    """What was found at each price, beside what the enumerated trainings say."""
    mrr, loss, seconds = (means(rows, measure) for measure in ("mrr", "train_loss", "seconds"))
    hand = [mrr[size, name].mean for name in VARIANTS if (size, name) in mrr]
    ties = [tie for pairs, tie in loss if pairs == size and tie != "ade_fte"]
    grouped = defaultdict(list)
    for row in rows:
        if row["part"] == "searches" and int(row["pairs"]) == size:
            grouped[float(row["apart"]), float(row["price"])].append(row)
    found = []
    for (apart, price), runs in sorted(grouped.items()):
        known = [mrr[size, run["found"]].mean for run in runs if (size, run["found"]) in mrr]
        best = min(ties, key=lambda tie: loss[size, tie].mean + price * copies(tie), default="")
        spent = sum(seconds[size, tie].mean for tie in ties)
        found.append(
            {
                "apart": apart,
                "price": price,
                "found": ", ".join(f"{tie} ({n})" for tie, n in Counter(run["found"] for run in runs).most_common()),
                "gap": 100 * (max(hand) - sum(known) / len(known)) if known and hand else None,
                "enumerated": best,
                "cost": mean([float(run["seconds"]) for run in runs]).mean / spent if spent else None,
            }
        )
    return found
