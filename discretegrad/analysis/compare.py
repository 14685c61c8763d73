"""`compare`: measure estimators on the user's own model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from discretegrad.analysis import arguments, given
from discretegrad.analysis.comparison import Comparison
from discretegrad.analysis.digest import DIFFERENCES, alike, learned
from discretegrad.analysis.measuring import Measuring
from discretegrad.analysis.replicator import Problem, named
from discretegrad.analysis.restore import restored
from discretegrad.analysis.sources import OfFunction, OfStep, Source, tensors_of
from discretegrad.core import Estimator


def compare(
    f: Callable[..., Tensor],
    logits: Tensor | nn.Module | Mapping[str, Tensor],
    estimators: Sequence[Estimator] | Mapping[str, Estimator],
    *,
    wrt: nn.Module | Mapping[str, Tensor] | None = None,
    precision: float = 0.05,
    replicates: int = 4096,
    confidence: float = 0.95,
    average: int | None = None,
    criterion: str | None = None,
    seed: int = 0,
    rounds: int = 25,
    reference: Estimator | None = None,
    truth: Tensor | Mapping[str, Tensor] | Literal[False] | None = None,
    on: str = "points",
    mask: Tensor | None = None,
    context: Any = None,
    path: str | Path | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Bias, variance and cost of estimators on your own model, with standard errors.

    Two forms. `compare(f, logits, estimators)` measures the gradient of `E f`, summed over the batch, w.r.t. the
    logits, or with `wrt=encoder` w.r.t. what they were computed from. `compare(step, model, estimators)` measures the
    gradient of `step(estimator)`, a loss that your own code computes with the estimator it is handed, w.r.t. the
    model's parameters. The first is much faster, since replicates share calls of f.

    Nothing is changed: no `.grad`; no parameter, buffer or mode of a module that f or the step holds; neither the
    default random generators, Python's and numpy's among them, nor a `torch.Generator` that it holds. What cannot be
    found, such as a global of another file, is not put back: see `discretegrad.analysis.restore.held`. Modules
    inside estimators are judged as they are now.

    Memory: 36 doubles on the CPU for each entry of the gradient and each estimator, the long run among them, and 100
    more at work: 0.4 GB for ten estimators and 100,000 entries. What the machine cannot hold is refused.

    The truth is yours, if you know it; or summed over all values where there are few enough; else it is the mean of a
    long run of an unbiased estimator, whose own noise is taken off biases and counted in their errors.

    Args:
        f: from points `[S, *batch, *event, C]` to values `[S, *batch]`, for any S; or the step. Where f is random, or a
            value depends on the other points of a call, replicates share no calls: put modules with dropout or batch
            normalisation into eval(), if that is what you want measured. Of an f that mixes the points, numbers are
            measured, but nothing is unbiased, and nothing is recommended. It is called without gradients unless the
            estimator needs them, or f fails without.
        logits: those of your batch; or the module (or tensors by name) of the second form.
        estimators: in a sequence, or in a mapping from names, all of one latent.
        wrt: a module or tensors by name behind the logits, which then need their graph. Layers are told apart by name.
        precision: an estimator is done when the relative standard error of its variance is no more than this.
        replicates: or when it has so many.
        confidence: of intervals, and of all that a ranking claims together.
        average: how many estimates the optimiser averages, some tens for Adam: all are then ranked, and one of them
            recommended, by the mean squared error of the mean of so many, in which a bias stays; None: the unbiased
            ones are, by variance and cost.
        criterion: what all are ranked by instead, see `Comparison.ranking`.
        seed: of everything random here; every estimator has its own numbers, whatever others are measured. What a step
            draws from Python's generator, numpy's, or one of its own does not follow it.
        rounds: how often each is timed, in turns; 0 leaves time and memory unmeasured. From one alone there is no
            error, and so no claim.
        reference: the estimator of the long run; by default the unbiased candidate with the least variance times
            evaluations in a short pilot.
        truth: the exact gradient, if it is known: `[D]`, or in the shape of the logits, or by layer; False: none is
            looked for, and nothing that compares with it is measured.
        on: what f is called with, "points" or "ids".
        mask, context: as in a call of an estimator.
        path: a file that is written now and then and at the end. If it is there already, what it holds is kept and
            measured on to the precision that is now asked for, the truth included. If a candidate has no time yet, all
            candidates are timed again, in turns, and others lose theirs: only times of one sitting compare. The problem
            must be the same, but for rounding: logits, mask, context, `on`, and what f gives at two points, or the
            parameters and the step's gradient at some; and so must what modules inside estimators have learned.
        progress: whether to show a bar; by default if there is a terminal.

    Raises:
        TypeError, ValueError: for arguments that cannot be meant, for more than the machine's memory, and for a file of
            another problem, before anything is measured. What an estimator stumbles over is in `Comparison.failures`,
            and the others go on.

    Example:
        >>> import torch, discretegrad as dg
        >>> from discretegrad import analysis
        >>> logits = torch.zeros(5, 3, 4)
        >>> def f(points):
        ...     return (points @ torch.arange(4.0)).sum(-1).square()
        >>> found = analysis.compare(f, logits, [dg.RLOO(2), dg.RLOO(4)])
        >>> found.ranking("variance").beats("RLOO (2)", "RLOO")
        True
    """
    candidates = named(estimators)
    arguments.refuse_estimators(candidates, reference, truth)
    arguments.refuse_settings(precision, replicates, rounds, confidence)
    arguments.refuse_criterion(criterion, average, truth)
    latent = next(iter(candidates.values())).latent
    source = _source(f, logits, wrt, mask, context, on)
    source.refuse(latent)
    exact = None if truth is None or truth is False else given.flat(truth, source.layers)
    arguments.refuse_memory(sum(source.sizes.values()), len(candidates) + (exact is None and truth is None))
    used = [*candidates.values()] if reference is None else [*candidates.values(), reference]
    learners = [learner for estimator in used for learner in estimator.learners]
    with restored(source.device, f, logits, wrt, learners), torch.enable_grad():
        note = source.look(latent)
        started = Comparison.empty(source.layers, source.signature(latent), confidence, seed, source.device)
        if exact is not None:
            started.exact, started.exact_from = exact, "given"
        found = _resumed(started, path, candidates, reference)
        if note is not None:
            found.note(note)
        found.mixes = found.mixes or source.mixes
        found.average, found.criterion = average, criterion
        measuring = Measuring(source, found, candidates, precision, replicates, path, progress)
        try:
            if truth is not False:
                measuring.find_truth(latent, reference)
            measuring.measure()
            if rounds:
                measuring.cost(rounds)
        finally:  # also when the user has had enough
            if path is not None:
                found.save(path)
    return found


def _source(
    f: Callable[..., Tensor],
    logits: Tensor | nn.Module | Mapping[str, Tensor],
    wrt: nn.Module | Mapping[str, Tensor] | None,
    mask: Tensor | None,
    context: Any,
    on: str,
) -> Source:
    if not callable(f):
        raise TypeError(
            f"the first argument is f, or a step that takes an estimator; {type(f).__name__} is no function."
        )
    if isinstance(logits, Tensor):
        return OfFunction(Problem(f, logits, None, mask, context, on), None if wrt is None else tensors_of(wrt))
    if wrt is not None or mask is not None or context is not None or on != "points":
        raise ValueError(
            "wrt, mask, context and on belong to compare(f, logits, ...) with a tensor of logits; a step does these "
            "things itself."
        )
    if not isinstance(logits, nn.Module | Mapping):
        raise TypeError(
            f"the second argument is a tensor of logits, or a module or tensors by name; not {type(logits).__name__}."
        )
    return OfStep(f, tensors_of(logits))


def _resumed(
    started: Comparison, path: str | Path | None, candidates: Mapping[str, Estimator], reference: Estimator | None
) -> Comparison:
    if path is None:
        return started
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not Path(path).exists():
        return started
    found = Comparison.load(path)
    if not found.same_problem(started):
        raise ValueError(
            f"{path} holds a comparison on another problem: {DIFFERENCES} differ. Use another path, or remove it."
        )
    if found.seed != started.seed:
        raise ValueError(
            f"{path} was measured with seed {found.seed}, not {started.seed}; give another path, or its seed."
        )
    for name, estimator in candidates.items():
        known = found.records.get(name)
        if known is not None and known.recipe != repr(estimator):
            raise ValueError(
                f"{path} has {name!r} as {known.recipe}, not {estimator!r}; give one of them another name."
            )
        if known is not None and not alike(known.learned, learned(estimator)):
            raise ValueError(
                f"{path} has {name!r} with modules that were trained on meanwhile, so it is another estimator; give it "
                "another name."
            )
    if started.exact is not None:
        if found.exact is not None and not given.same(found.exact, started.exact):
            raise ValueError(
                f"{path} has another truth ({found.exact_from}) than the one that is given; give that one, or another "
                "path."
            )
        found.exact, found.exact_from = started.exact, started.exact_from
    long_run = found.long_run
    if reference is not None and long_run is not None and found.exact is None and long_run.recipe != repr(reference):
        raise ValueError(
            f"{path} has a truth that is a long run of {long_run.recipe}, not of {reference!r}; leave the reference "
            "out, or give another path."
        )
    found.confidence = started.confidence
    found.note_versions(started.versions)
    return found
