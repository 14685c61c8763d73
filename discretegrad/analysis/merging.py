"""Two comparisons of one problem as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from discretegrad.analysis.digest import DIFFERENCES, alike
from discretegrad.analysis.given import same

if TYPE_CHECKING:
    from discretegrad.analysis.comparison import Comparison


def merged(one: Comparison, other: Comparison) -> Comparison:
    """See `Comparison.merge`."""
    _refuse(one, other)
    found, theirs = one.of_state(one.state()), other.of_state(other.state())
    timed = any(record.seconds is not None for record in found.records.values())
    for name, record in theirs.records.items():
        if timed:
            record.seconds = None
        if name in found.records:
            found.records[name].merge(record)
        else:
            found.records[name] = record
    failures = {**theirs.failures, **found.failures}
    found.failures = {name: failure for name, failure in failures.items() if name not in found.records}
    _merge_truth(found, theirs)
    found.mixes = found.mixes or theirs.mixes
    for note in theirs.notes:
        found.note(note)
    found.note_versions(theirs.versions)
    return found


def _refuse(one: Comparison, other: Comparison) -> None:
    if not one.same_problem(other):
        raise ValueError(f"these comparisons are of different problems: {DIFFERENCES} differ.")
    given = "given" in (one.exact_from, other.exact_from)
    if given and one.exact is not None and other.exact is not None and not same(one.exact, other.exact):
        raise ValueError(
            f"these comparisons have different truths ({one.exact_from} and {other.exact_from}); look which is true."
        )
    twice: list[str] = []
    seeds: set[int] = set()
    for name in sorted(one.records.keys() & other.records.keys()):
        own, others = one.records[name], other.records[name]
        if own.recipe != others.recipe:
            raise ValueError(
                f"{name!r} is {own.recipe} in one comparison and {others.recipe} in the other; give one of them "
                "another name."
            )
        if not alike(own.learned, others.learned):
            raise ValueError(
                f"{name!r} holds modules that were trained on between these comparisons, so it is another estimator; "
                "give one of them another name."
            )
        if own.seeds & others.seeds:
            twice.append(name)
            seeds |= own.seeds & others.seeds
    if twice:
        raise ValueError(
            f"both comparisons measured {', '.join(twice)} with seed {' and '.join(map(str, sorted(seeds)))}, so with "
            "the same random numbers; measure one of them with another seed, and merge every run once."
        )


def _merge_truth(found: Comparison, other: Comparison) -> None:
    if found.exact is None:
        found.exact, found.exact_from = other.exact, other.exact_from
    own, others = found.long_run, other.long_run
    if own is not None and others is not None and not own.seeds & others.seeds:
        own.merge(others)
        found.reference = " and ".join(dict.fromkeys((found.reference, other.reference)))
    elif others is not None and (own is None or own.moments.replicates < others.moments.replicates):
        # Of runs with the same random numbers the longer.
        found.long_run, found.reference = others, other.reference
    found.truth_failure = "" if found.truth is not None else found.truth_failure or other.truth_failure
