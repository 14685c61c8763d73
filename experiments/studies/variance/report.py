"""A report's configuration, unfolded and checked."""

from __future__ import annotations

import inspect
import itertools
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.errors import UserError, require_number
from experiments.studies.problems import FAMILIES, Instance, check
from experiments.studies.stages.stage import configuration
from experiments.studies.variance.specs import estimator
from experiments.studies.variance.vae import vae

KINDS = {**FAMILIES, "vae": vae}
SYMBOLS = {"variables": "V", "categories": "C"}
HIDDEN = ("kind", "latent", "run", "images", "parts")
"""Arguments that labels leave out."""
CRITERIA = ("variance", "bias2", "mse", "variance_evaluations", "variance_time")


@dataclass(frozen=True)
class Cell:
    """A problem, and what is compared on it."""

    kind: str
    arguments: dict[str, Any]
    """As they were given."""
    known: dict[str, Any]
    """All of them, and the latents and sizes of a run's model."""
    estimators: dict[str, str]
    """The series, such as `RLOO(s)`, that each belongs to."""

    @property
    def label(self) -> str:
        """For people."""
        shown = {name: value for name, value in self.arguments.items() if name not in HIDDEN}
        name = shown.pop("name", "")
        parts = [f"{SYMBOLS.get(key, key)}={value}" for key, value in shown.items()]
        return " ".join([self.kind, *([str(name)] if name else []), *parts])

    @property
    def file(self) -> str:
        """Of the comparison, without its folder."""
        arguments = {name: value for name, value in self.arguments.items() if name != "run"}
        return "-".join([self.kind, *(f"{name}={value}" for name, value in arguments.items())]) + ".pt"

    def problem(self) -> Instance:
        """Made anew."""
        return KINDS[self.kind](**self.arguments)


@dataclass(frozen=True)
class Claim:
    """That one estimator has less of something than another, in all cells where both are."""

    says: str
    by: str
    less: str
    more: str
    criterion: str = "variance"
    margin: float = 0.0
    """The claim is that `less < (1 + margin) more`: "not worse" where the margin is above zero."""
    where: dict[str, Any] = field(default_factory=dict)
    """What the arguments of the cells are that it is about; all, if empty."""


@dataclass(frozen=True)
class Report:
    """Unfolded: cells, claims with their pairs of names, figures."""

    title: str
    question: str
    cells: tuple[Cell, ...]
    claims: tuple[Claim, ...]
    values: dict[str, list[Any]]
    figures: tuple[dict[str, Any], ...]
    crossover: str | None
    """The unbiased estimator that biased ones are held against."""
    training: dict[str, Any]
    """Overrides of `python -m experiments.train` for the run of its VAE cells, by name."""

    def pairs(self, claim: Claim, cell: Cell) -> list[tuple[str, str]]:
        """The names that a claim compares in a cell."""
        facts = {"kind": cell.kind, **cell.known}
        if any(facts.get(name) not in listed(value) for name, value in claim.where.items()):
            return []
        names = expand([f"{claim.less}\n{claim.more}"], self.values, cell.known)
        pairs = [(less, more) for less, more in (name.split("\n") for name in names)]
        return [pair for pair in pairs if set(pair) <= cell.estimators.keys()]


def dealt(cells: Sequence[Cell], shard: object) -> Sequence[Cell]:
    """The cells of a shard: of 2/3 the second of three, and every third from there on, for neighbours cost alike.

    Raises:
        UserError: where it is no shard of these.

    Example:
        >>> dealt("abcdefgh", "2/3")
        'beh'
    """
    if shard is None:
        return cells
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", str(shard))
    number, count = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"shard is a part such as 2/3, the second of three, or null, not {shard!r}.")
    if count > len(cells):
        raise UserError(f"shard={shard}: this report has {len(cells)} problems; deal them to as many jobs at most.")
    return cells[number - 1 :: count]


def expand(templates: Sequence[str], values: Mapping[str, list[Any]], arguments: Mapping[str, Any]) -> dict[str, str]:
    """Fill in `{name}`: with each of the values of that name, or with the cell's argument.

    Returns:
        The series of each: what it has in common with those that differ from it in numbers only.

    Example:
        >>> expand(["RLOO({categories})", "ReinMax({t})"], {"t": [1.0, 2.0]}, {"categories": 4})
        {'RLOO(4)': 'RLOO(categories)', 'ReinMax(1.0)': 'ReinMax(t)', 'ReinMax(2.0)': 'ReinMax(t)'}
    """
    filled: dict[str, str] = {}
    for template in templates:
        names = list(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template) if name))
        unknown = [name for name in names if name not in values and name not in arguments]
        if unknown:
            raise UserError(f"{template!r} has {{{unknown[0]}}}, which is neither in values nor in the problem.")
        choices = [values[name] if name in values else [arguments[name]] for name in names]
        for chosen in itertools.product(*choices):
            given = dict(zip(names, chosen, strict=True))
            series = {name: name if isinstance(value, int | float) else value for name, value in given.items()}
            filled.setdefault(template.format(**given), template.format(**series))
    return filled


def read(config: Mapping[str, Any], out: Path) -> Report:
    """Unfold and check a report's configuration, without measuring anything.

    Args:
        config: as in conf/report/.
        out: folder of the report, in which it trains its runs.

    Raises:
        UserError: for whatever cannot be meant.
    """
    known = {*inspect.signature(Report).parameters}
    unknown = config.keys() - known - {"estimators", "quick"}
    if unknown:
        raise UserError(f"a report has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}, estimators.")
    values = {key: listed(value) for key, value in config.get("values", {}).items()}
    training = dict(config.get("training", {}))
    cells = list(_cells(config, values, training, out))
    claims = tuple(Claim(**claim) for claim in config.get("claims", ()))
    for claim in claims:
        if claim.criterion not in CRITERIA:
            raise UserError(f"a claim's criterion is one of {', '.join(CRITERIA)}, not {claim.criterion!r}.")
        require_number("a claim's margin", claim.margin, 0.0, 1.0)
    report = Report(
        str(config["title"]),
        str(config["question"]),
        tuple(cells),
        claims,
        values,
        tuple(dict(figure) for figure in config.get("figures", ())),
        config.get("crossover"),
        training,
    )
    for claim in claims:
        if not claim.where and not any(report.pairs(claim, cell) for cell in cells):
            raise UserError(f"nothing in this report is about {claim.less} and {claim.more}; add them to estimators.")
    return report


def _cells(
    config: Mapping[str, Any], values: Mapping[str, list[Any]], training: Mapping[str, Any], out: Path
) -> Iterator[Cell]:
    """Every combination of the arguments that are lists."""
    entries = config.get("cells", ())
    if not entries:
        raise UserError("a report needs cells; give some problems, such as cells=[{kind: classic}].")
    for entry in entries:
        arguments = dict(entry)
        kind = str(arguments.pop("kind", ""))
        templates = arguments.pop("estimators", config.get("estimators", ()))
        for chosen in itertools.product(*map(listed, arguments.values())):
            one = dict(zip(arguments, chosen, strict=True))
            check(kind, one, KINDS)
            known = {name: of.default for name, of in inspect.signature(KINDS[kind]).parameters.items()} | one
            if kind == "vae":
                one["run"], model = _run(known, training, out)
                known |= model
            cell = Cell(kind, one, known, expand(templates, values, known))
            if not cell.estimators:
                raise UserError("a report needs estimators; give some, such as estimators=['RLOO(2)'].")
            for spec in cell.estimators:
                if estimator(spec, known["latent"]).learners:
                    raise UserError(f"{spec} has modules that would have to learn first; see studies.stages.")
            yield cell


def _run(arguments: Mapping[str, Any], training: Mapping[str, Any], out: Path) -> tuple[str, dict[str, Any]]:
    """The run's folder, the user's own or one within the report's, and the latents and sizes of its model."""
    run, step, part, parts = (arguments[name] for name in ("run", "step", "part", "parts"))
    if arguments["wrt"] not in ("logits", "encoder"):
        raise UserError(f"vae: wrt is logits or encoder, not {arguments['wrt']!r}.")
    if part >= parts:
        raise UserError(f"vae: part {part} is not one of {parts} parts, of which 0 is the first.")
    if run in training:
        given = dict(override.split("=", 1) for override in training[run])
        sizes = {size: int(given[f"model.{size}"]) for size in SYMBOLS if f"model.{size}" in given}
        return str(out / "runs" / run), {"latent": given.get("model", "categorical"), **sizes}
    if not run:
        raise UserError("a problem of the family vae needs run, the folder of a run of experiments.train.")
    model = configuration(Path(run), step).model
    return run, {name: model[name] for name in ("latent", *SYMBOLS) if name in model}


def listed(value: Any) -> list[Any]:
    """A list or tuple as it is, anything else as the only one of a list."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
