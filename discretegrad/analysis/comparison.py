"""What a comparison found: numbers, table, ranking, recommendation; saved, loaded and merged."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from discretegrad import checks
from discretegrad.analysis import bias
from discretegrad.analysis.digest import alike
from discretegrad.analysis.estimate import Estimate, p_value
from discretegrad.analysis.inference import interval, positive_interval
from discretegrad.analysis.known import NOTHING_UNBIASED
from discretegrad.analysis.merging import merged
from discretegrad.analysis.moments import Truth
from discretegrad.analysis.ranking import Ranking, rank, refuse_unknown
from discretegrad.analysis.recommendation import Recommendation, recommend
from discretegrad.analysis.record import FEWEST, Record
from discretegrad.analysis.result import ESTIMATES, TIMES, Result, result_of
from discretegrad.analysis.table import table, wrapped
from discretegrad.files import write_whole

FORMAT = 3
"""Of the files."""


@dataclass
class Comparison:
    """What `compare` found. Print it for a table and a recommendation."""

    shapes: dict[str, tuple[int, ...]]
    """Of the layers."""
    signature: Tensor
    confidence: float
    seed: int
    records: dict[str, Record] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Of estimators that could not be measured: what went wrong."""
    exact: Tensor | None = None
    """The true gradient `[D]`, float64, where it is known."""
    exact_from: str = "enumeration"
    """Or "given", by the user."""
    long_run: Record | None = None
    """Of an unbiased estimator, where it is not."""
    reference: str = ""
    """The name of that estimator."""
    truth_failure: str = ""
    """What went wrong with the long run."""
    average: int | None = None
    """How many estimates the optimiser averages, by whose mean all are ranked; None: the unbiased ones, by cost."""
    criterion: str | None = None
    """What `ranking` and the recommendation go by, if nothing else is said; None: what is known well."""
    mixes: bool = False
    """Whether f mixes the points of a call, for which nothing is unbiased and nothing is recommended."""
    notes: list[str] = field(default_factory=list)
    versions: dict[str, list[str]] = field(default_factory=dict)
    """Of what it was measured with, several where runs differ."""
    _known: dict[str, tuple[Any, Result]] = field(default_factory=dict, init=False, repr=False)
    """Results, and what they were made of."""

    @classmethod
    def empty(
        cls, shapes: Mapping[str, torch.Size], signature: Tensor, confidence: float, seed: int, device: torch.device
    ) -> Comparison:
        """Nothing measured yet."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
        versions = {"torch": [str(torch.__version__)], "python": [platform.python_version()], "device": [name]}
        return cls(
            {name: tuple(shape) for name, shape in shapes.items()}, signature, confidence, seed, versions=versions
        )

    @property
    def results(self) -> dict[str, Result]:
        """By name, in the order in which they were measured; without those that were interrupted too early."""
        enough = {name: record for name, record in self.records.items() if record.moments.replicates >= FEWEST}
        truth_name = self.truth_name
        made_of = {name: (one.moments.replicates, one.seconds, truth_name) for name, one in enough.items()}
        stale = [name for name in enough if name not in self._known or self._known[name][0] != made_of[name]]
        truth = self.truth if stale else None  # a long run's mean takes as long as all else here
        for name in stale:
            self._known[name] = made_of[name], result_of(name, enough[name], truth, self.shapes)
        return {name: self._known[name][1] for name in enough}

    @property
    def truth(self) -> Truth | None:
        """What estimators are compared with: the enumerated gradient, or what the long run has so far."""
        if self.exact is not None:
            return Truth(self.exact)
        if self.long_run is None or self.long_run.moments.replicates < FEWEST:
            return None
        return Truth(self.long_run.moments.average(), self.long_run.moments)

    @property
    def truth_name(self) -> str:
        """Where it is from, or why there is none."""
        if self.exact is not None:
            return self.exact_from
        if self.long_run is None or self.long_run.moments.replicates < FEWEST:
            return f"none ({self.truth_failure})" if self.truth_failure else "none"
        return f"{self.long_run.moments.replicates} replicates of {self.reference}"

    def note(self, text: str) -> None:
        """Add to the notes what is not there yet."""
        if text not in self.notes:
            self.notes.append(text)

    def note_versions(self, versions: Mapping[str, list[str]]) -> None:
        """Add to the versions what is not there yet."""
        for name, known in versions.items():
            self.versions[name] = list(dict.fromkeys((*self.versions.get(name, ()), *known)))

    @property
    def norm2(self) -> Estimate | None:
        """The squared norm of the true gradient."""
        truth = self.truth
        return None if truth is None else truth.norm2

    def ranking(self, criterion: str | None = None, average: int | None = None) -> Ranking:
        """All pairs compared.

        Args:
            criterion: "mse" of all, or of those that say they are unbiased "variance", "variance_evaluations" or
                "variance_time"; by default the comparison's, or "mse" if it has an `average`, else the last, or the one
                before where the times are not known well: where the error of one may hide half of it.
            average: of how many estimates the mean is judged by "mse"; by default the comparison's, or one.

        Raises:
            ValueError: for another criterion, or no such number.
        """
        results = self.results
        if criterion is None and (self.average is not None or average is not None):
            criterion = "mse"
        elif criterion is None:
            timed = _timed(results, self.confidence)
            criterion = self.criterion or ("variance_time" if timed else "variance_evaluations")
        refuse_unknown(criterion)
        if average is not None:
            checks.count(average, "average")
            if criterion != "mse":
                raise ValueError(f"average belongs to criterion='mse'; averaging changes no ranking by {criterion}.")
        if criterion == "mse":
            average = average or self.average or 1
            chosen = {name: one.mse_of(average) for name, one in results.items()}
        else:
            chosen = {name: getattr(one, criterion) for name, one in results.items() if one.unbiased}
        numbers = {name: number for name, number in chosen.items() if number is not None}
        return rank(criterion, numbers, self.confidence, average or 1)

    def interval(self, name: str, quantity: str) -> tuple[float, float]:
        """Of one quantity of one estimator, by itself, with the comparison's confidence.

        Raises:
            ValueError: where it was not measured.
        """
        result = self.results[name]
        estimate = getattr(result, quantity)
        if estimate is None:
            raise ValueError(f"the {quantity} of {name} was not measured: there is no truth, or rounds was 0.")
        if quantity == "bias2" and estimate.error > 0:  # else it is zero, but for rounding
            assert result.distance is not None
            return bias.interval(result.distance, self.confidence)
        return (interval if quantity in ("snr", "cosine") else positive_interval)(estimate, self.confidence)

    @property
    def recommendation(self) -> Recommendation:
        """Which estimator to use, and why."""
        return self._recommend(self.results, self.ranking())

    def _recommend(self, results: Mapping[str, Result], ranking: Ranking) -> Recommendation:
        if self.mixes:
            return Recommendation(None, False, NOTHING_UNBIASED, ranking.criterion, {})
        others, by_error = ranking.without(self.failures), self.ranking("mse", 1)
        return recommend(results, others, by_error, self.confidence, self.criterion is not None)

    def rows(self) -> list[dict[str, Any]]:
        """One for each estimator, for tables and plots; those that failed have numbers None and say why.

        Columns: `name`, `unbiased`, `replicates`, `bias_p_value`, `memory` (bytes), `norm2`, `seconds_to_10_percent`
        (see `Result.seconds_to`), `failure`; `evaluations`, `variance`, `bias2`, `mse`, `snr`, `cosine`, `seconds`,
        `variance_evaluations` and `variance_time`, each with its standard error as `variance_se`; the degrees of
        freedom of the errors of times, `seconds_freedom` and `variance_time_freedom` (those of all others are 31 or
        more); and the ends of confidence intervals, `variance_low`, `variance_high`, and so on of `bias2` and `mse`.
        """
        rows = []
        for result in self.results.values():
            row: dict[str, Any] = {
                "name": result.name,
                "unbiased": result.unbiased,
                "replicates": result.replicates,
                "bias_p_value": result.bias_p_value,
                "memory": result.memory,
                "norm2": result.norm2,
                "seconds_to_10_percent": result.seconds_to(0.1),
                "failure": None,
            }
            for name in ESTIMATES:
                estimate = getattr(result, name)
                row[name], row[f"{name}_se"] = (None, None) if estimate is None else estimate[:2]
                if name in TIMES:
                    row[f"{name}_freedom"] = None if estimate is None else estimate.freedom
            for name in ("variance", "bias2", "mse"):
                if row[name] is not None:
                    row[f"{name}_low"], row[f"{name}_high"] = self.interval(result.name, name)
            rows.append(row)
        columns = ["name", *(name for row in rows[:1] for name in row if name != "name")]
        for name, failure in self.failures.items():
            rows.append({**dict.fromkeys(columns), "name": name, "failure": failure})
        return rows

    def layer_rows(self) -> list[dict[str, Any]]:
        """One for each estimator and layer: `name`, `unbiased`, `layer`, `entries`; `variance`, `bias2` and errors."""
        return [
            {
                "name": name,
                "unbiased": result.unbiased,
                "layer": layer,
                "entries": math.prod(self.shapes[layer]),
                "variance": found.variance.value,
                "variance_se": found.variance.error,
                "bias2": found.bias2.value,
                "bias2_se": found.bias2.error,
            }
            for name, result in self.results.items()
            for layer, found in result.layers.items()
        ]

    def __str__(self) -> str:
        results, ranking = self.results, self.ranking()
        lines = table(results, ranking)
        norm2 = self.norm2
        length = "" if norm2 is None else f", squared norm {norm2.value:.4g}"
        length += f" +- {norm2.error:.1g}" if norm2 is not None and norm2.error else ""
        entries, layers = sum(math.prod(shape) for shape in self.shapes.values()), len(self.shapes)
        lines += wrapped(
            f"Truth: {self.truth_name}{length}. {entries} entries in {layers} layer{'s' if layers > 1 else ''}. "
            "Bias in percent of the norm, blank below two standard errors."
        )
        for name, failure in self.failures.items():
            lines += wrapped(f"{name} failed: {failure}")
        notes = self.notes
        if self.truth_failure and self.truth is not None:
            notes = [*notes, f"the truth could not be measured on: {self.truth_failure}"]
        for note in notes:
            lines += wrapped(f"Note: {note}")
        return "\n".join((*lines, "", *wrapped(self._recommend(results, ranking).sentence, "")))

    def same_problem(self, other: Comparison) -> bool:
        """Whether both are of the same layers, logits and f, but for rounding on other machines."""
        return self.shapes == other.shapes and alike(self.signature, other.signature)

    def merge(self, other: Comparison) -> Comparison:
        """Both together: estimators of either, and those of both with all their replicates.

        Long runs are joined as well. Times are this comparison's, where it has any: those of another run, perhaps on
        another machine, do not compare with them.

        Raises:
            ValueError: for another problem, and where both have the same replicates, since they have a seed in common.
        """
        return merged(self, other)

    def save(self, path: str | Path) -> None:
        """Write a file, whole."""
        write_whole(Path(path), partial(torch.save, self.state()))

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Read what `save` wrote.

        Raises:
            ValueError: for a file that is none of ours.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            known = state["format"] == FORMAT
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"{path} is no comparison that `save` wrote; give another file, or remove it.") from error
        if not known:
            raise ValueError(f"{path} has format {state['format']}, but this version reads {FORMAT}; measure anew.")
        return cls.of_state(state)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values."""
        records = {name: record.state() for name, record in self.records.items()}
        long_run = None if self.long_run is None else self.long_run.state()
        own = {name: value for name, value in self.__dict__.items() if name != "_known"}
        return {**own, "format": FORMAT, "long_run": long_run, "records": records}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Comparison:
        """What `state` was of, with nothing shared."""
        state = {name: value for name, value in state.items() if name != "format"}
        state["records"] = {name: Record.of_state(record) for name, record in state["records"].items()}
        if state["long_run"] is not None:
            state["long_run"] = Record.of_state(state["long_run"])
        for name in ("failures", "notes", "versions"):
            state[name] = state[name].copy()
        return cls(**state)


def _timed(results: Mapping[str, Result], confidence: float) -> bool:
    """Whether all times are there, and known so well that none may be half of itself, at the level of a ranking."""
    times = [result.seconds for result in results.values() if result.unbiased]
    level = (1 - confidence) / max(1, math.comb(len(times), 2))
    return all(time is not None and p_value(time, Estimate(time.value / 2, 0.0)) <= level for time in times)
