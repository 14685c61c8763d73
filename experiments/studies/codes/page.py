"""The page: recall over bytes, and a table of estimators for each form of code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hydra.utils import instantiate

from experiments.collect.groups import Mean, mean
from experiments.curves import put
from experiments.parts.retrieval import Judged
from experiments.studies import page
from experiments.studies.codes.runs import METHODS, ROWS, STEPS, Trial, composed
from experiments.studies.trials import read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE = "figures/codes.png"
QUANTISERS = {
    "product": ("OPQ", "o-", "tab:blue"),
    "residual": ("RQ", "s-", "tab:red"),
    "bits": ("ITQ bits", "^-", "tab:green"),
}
"""Of faiss, by the structure that starts from them."""
MEASURES = ("mrr", "recall_at_10", "bits", "mrr_first_4", "mrr_first_8")


class Key(NamedTuple):
    """Of runs that differ in their seeds alone."""

    structure: str
    variables: int
    categories: int
    method: str
    beam: int

    @property
    def bytes(self) -> float:
        """Of a code."""
        return self.variables * (self.categories.bit_length() - 1) / 8


Means = Mapping[Key, Mapping[str, Mean]]


def write(out: Path) -> None:
    """Write the page of all rows that there are."""
    rows = read(out / ROWS)
    found, gained = means(rows), gains(rows)
    config = composed(Trial("product", 16, 16, "untrained"), [], Path())
    pairs = instantiate(config.data)
    judged = Judged.of(pairs.held_out, pairs.others)
    forms = list(dict.fromkeys(key[:3] for key in found if key.method != "untrained"))
    text = page.render(
        Path(__file__).with_name("page.md.j2"),
        tables=[(_title(*form), _table(found, gained, form)) for form in forms],
        nested=_nested(found),
        config=config,
        pairs=pairs,
        judged=judged,
        steps=STEPS,
        figure=FIGURE,
    )
    page.put(out / "codes.md", text)
    (out / "figures").mkdir(exist_ok=True)
    put(out / FIGURE, draw(found))


def means(rows: Sequence[Mapping[str, str]]) -> Means:
    """Over seeds."""
    grouped = defaultdict(list)
    for row in rows:
        grouped[_key(row)].append(row)
    return {
        key: {name: mean([float(row[name]) for row in each]) for name in MEASURES if each[0][name]}
        for key, each in grouped.items()
    }


def gains(rows: Sequence[Mapping[str, str]]) -> dict[Key, Mean]:
    """What training has added to the MRR of the start with the same seed; of forms whose start has been measured."""
    by_seed = {(_key(row), row["seed"]): float(row["mrr"]) for row in rows}
    found = defaultdict(list)
    for (key, seed), value in by_seed.items():
        start = by_seed.get((_start(key), seed))
        if start is not None and key.method != "untrained":
            found[key].append(value - start)
    return {key: mean(each) for key, each in found.items()}


def draw(found: Means) -> Figure:
    """Recall over bytes: faiss's quantisers as lines, what was trained as points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axis = figure.subplots()
    for structure, (label, style, colour) in QUANTISERS.items():
        beam = 5 if structure == "residual" else 1
        keys = sorted(k for k in found if k[0] == structure and k.method == "untrained" and k.beam == beam)
        points = [(key.bytes, 100 * found[key]["recall_at_10"].mean) for key in keys]
        name = f"faiss {label}" + (", beam 5" if beam > 1 else "")
        axis.plot(*zip(*points, strict=True), style, color=colour, markersize=4, label=name)
        trained = [k for k in found if k[0] == structure and k.method != "untrained" and k.beam == beam]
        values = [(key.bytes * 1.04, 100 * found[key]["recall_at_10"].mean) for key in trained]
        if values:
            axis.scatter(*zip(*values, strict=True), marker="x", color=colour, label=f"{structure}, trained")
    floats = {"floats": "--", "floats, projected": ":"}
    for key, measured in found.items():
        if key.structure in floats:
            label = f"{key.variables} floating-point numbers"
            axis.axhline(100 * measured["recall_at_10"].mean, color="0.5", linestyle=floats[key.structure], label=label)
    axis.set(xscale="log", xlabel="bytes of a document's code", ylabel="recall at 10, in hundredths", ylim=(0, None))
    axis.set_xticks([2, 4, 8, 16], ["2", "4", "8", "16"])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def _key(row: Mapping[str, str]) -> Key:
    return Key(row["structure"], int(row["variables"]), int(row["categories"]), row["method"], int(row["beam"]))


def _start(key: Key) -> Key:
    """Additive codes start as product codes."""
    return key._replace(structure="product" if key.structure == "additive" else key.structure, method="untrained")


def _title(structure: str, variables: int, categories: int) -> str:
    bits = categories.bit_length() - 1
    return f"{structure.capitalize()} codes of {variables} x {bits} = {variables * bits} bits"


def _table(found: Means, gained: Mapping[Key, Mean], form: tuple[str, int, int]) -> list[dict[str, str | int]]:
    start = _start(Key(*form, "untrained", 1))
    keys = [key for key in found if key[:3] == form or key == start]
    order = sorted(keys, key=lambda key: (key.beam, [*METHODS].index(key.method)))
    return [
        {
            "method": key.method,
            "served": f"beam {key.beam}" if key.beam > 1 else "greedily" if form[0] == "residual" else "by argmax",
            "seeds": found[key]["mrr"].seeds,
            "mrr": page.with_error(found[key]["mrr"]),
            "gain": page.with_error(gained[key], decimals=2) if key in gained else page.number(None),
            "recall": page.with_error(found[key]["recall_at_10"]),
            "bits": page.number(found[key]["bits"].mean),
        }
        for key in order
    ]


def _nested(found: Means) -> list[dict[str, str | int]]:
    rows: list[dict[str, str | int]] = []
    for key, measured in found.items():
        if "mrr_first_4" in measured:
            first, second, whole = (page.with_error(measured[f"mrr{end}"]) for end in ("_first_4", "_first_8", ""))
            rows.append(
                {"method": key.method, "seeds": measured["mrr"].seeds, "first": first, "second": second, "all": whole}
            )
    return rows
