"""`Monitor`: variance, bias and entropy along a training, at a bounded share of its time."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from discretegrad import checks
from discretegrad.analysis.budget import Budget
from discretegrad.analysis.estimate import Estimate
from discretegrad.analysis.known import NOTHING_UNBIASED, Known
from discretegrad.analysis.replicator import Problem, wait
from discretegrad.analysis.restore import restored
from discretegrad.analysis.snapshot import (
    GROUPS,
    SATURATED,
    Measured,
    columns,
    inner,
    of_draw,
    of_gradient,
    of_posterior,
)
from discretegrad.analysis.stages import COLUMNS, Progress, refuse, staged, summed_up
from discretegrad.core import Estimator
from discretegrad.draw import Draw
from discretegrad.estimators import RLOO
from discretegrad.files import write_table, write_whole


class Monitor:
    """Watches an estimator at work, and leaves the training as it would be without it, bit for bit.

    Call it once a step, when the gradients are there and before the optimiser moves. It measures at some of the steps:
    when the share of the time between its calls that it is allowed has paid for it, or every so many steps. Of the
    steps at which it does not, it takes microseconds, and does not synchronise a GPU.

    A measured step is a row: the posterior's entropy in nats and effective number of categories, `exp(entropy)`, means
    over the variables; the share of variables with a probability above 0.99; the estimate of E f, the mean over the
    batch; the total variance of the gradient, summed over the batch, w.r.t. the logits, its signal-to-noise ratio (norm
    of the mean over standard deviation); and for biased estimators, against replicates of an unbiased one, the cosine
    between the mean gradients, and the squared norm of the bias. What is an estimate has its standard error
    (`variance_se`, ...). In a single row a mean gradient may drown in noise, and the cosine is then empty or far off;
    a stage's is made of what its rows know together.

    Args:
        share: the most time that it takes, as a share of the steps' time. Exceeded only by as much as one row took
            longer than those before let expect, and then made up for.
        every: measure each so many steps instead, whatever it takes; what is measured is then a function of the seed.
        stages: the last step of every stage but the last, as (1000, 4000); or how many, of equally many rows.
        precision: a row has enough replicates at this relative error of the variance, and error of the cosine.
        replicates: or when it has so many, at least 8; or when time is up.
        gap: the fewest steps from a row to the next, for `share`.
        reference: an unbiased estimator with which any other is compared. By default RLOO(4), with biased ones only.
        seed: of the replicates.
        modules: those that f calls, if they have buffers that a call moves, as batch normalisation has: they are put
            back. Not needed for those that f holds: see `discretegrad.analysis.restore.held`.
        path: a file that is written at every row, whole: JSON lines if it ends in .jsonl, else CSV.
        clock: seconds, never going back.

    Raises:
        ValueError: for arguments that cannot be meant.

    Example:
        >>> import torch, discretegrad as dg
        >>> from discretegrad import analysis
        >>> logits = torch.zeros(20, 3, 4, requires_grad=True)
        >>> f = lambda points: points[..., 0].sum(-1).square()
        >>> estimator, optimizer = dg.RLOO(4), torch.optim.SGD([logits], lr=0.1)
        >>> monitor = analysis.Monitor(every=10)
        >>> for step in range(1, 31):
        ...     optimizer.zero_grad()
        ...     estimator(f, logits).sum().backward()
        ...     monitor.after(estimator, f, logits, step=step)
        ...     optimizer.step()
        >>> [row["step"] for row in monitor.rows], monitor.rows[0]["entropy"] > monitor.rows[-1]["entropy"]
        ([10, 20, 30], True)
    """

    def __init__(
        self,
        share: float = 0.05,
        *,
        every: int | None = None,
        stages: int | Sequence[int] = 3,
        precision: float = 0.1,
        replicates: int = 64,
        gap: int = 10,
        reference: Estimator | None = None,
        seed: int = 0,
        modules: Sequence[nn.Module] = (),
        path: str | Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(
                f"share is that of the steps' time which may be taken, above 0 and at most 1, not {share}."
            )
        if every is not None:
            checks.count(every, "every")
        refuse(stages)
        checks.positive(precision, "precision")
        checks.count(replicates, "replicates")
        if replicates < GROUPS:
            raise ValueError(f"replicates must be at least {GROUPS} for a standard error, not {replicates}.")
        checks.count(gap, "gap")
        if reference is not None and not (isinstance(reference, Estimator) and reference.unbiased):
            raise ValueError("the reference must be an unbiased estimator such as RLOO(4): bias is measured by it.")
        self.every, self.precision, self.replicates, self.gap = every, precision, replicates, gap
        self.stages = stages if isinstance(stages, int) else tuple(stages)
        self.reference, self.seed, self.modules = reference, seed, tuple(modules)
        self.path = None if path is None else Path(path)
        self.budget = Budget(share, clock)
        self.calls = 0
        self._rows: list[dict[str, Any]] = []
        self._known: Known | None = None
        """Of f, from the first row: the same at all steps."""
        self._next = 0
        """The call from which on a row may be measured."""
        self._seconds: dict[str, float] = {}
        """What the least row takes, by kind."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What was measured, with the columns of the file; None where there is nothing."""
        return [{name: row.get(name) for name in COLUMNS} for row in staged(self._rows, self.stages)]

    def after(
        self,
        estimator: Estimator,
        f: Callable[[Tensor], Tensor],
        logits: Tensor,
        *,
        step: int | None = None,
        mask: Tensor | None = None,
        context: Any = None,
        on: str = "points",
    ) -> None:
        """After the backward pass of a step, in which `estimator` was used on `f` and `logits`.

        Args:
            estimator: any of E f; modules in it are judged as they are now.
            f: of the present batch, from points `[S, *batch, *event, C]` to values `[S, *batch]`, for any S. Whether it
                is random or mixes the points of a call, and so is called for one replicate at a time, is looked at
                once, at the first row; for an f that mixes them no estimator is unbiased, and the summary says so. What
                it depends on the logits for besides its points is not part of the gradient. The processes of a parallel
                training measure at different steps: where f waits for the others, as DistributedDataParallel may, call
                the module within, or measure `every` so many steps.
            logits: of the present batch.
            step: its number; by default that of the call, from 1.
            mask, context, on: as in a call of an estimator.

        Raises:
            TypeError, ValueError: for what cannot be meant, and whatever f raises.
        """
        if not isinstance(estimator, Estimator):
            raise TypeError(f"the first argument is the estimator, such as RLOO(), not a {type(estimator).__name__}.")
        name = type(estimator).__name__
        if estimator.of_bound:
            raise ValueError(
                f"{name} differentiates a multi-sample bound, not E f, which is all that a monitor measures; give it "
                "draws by note(draw, values)."
            )
        reference = self.reference
        if reference is None and not estimator.unbiased:
            reference = RLOO(4, estimator.latent)
        for one in (estimator, reference):
            if one is not None:
                checks.on(on, one.takes_ids, type(one).__name__)
        if reference is not None and reference.latent != estimator.latent:
            raise ValueError(
                f"the reference is for {reference.latent} latents, and {name} for {estimator.latent} ones."
            )
        problem = Problem(f, logits.detach(), None, mask, context, on)
        self._turn("gradient", step, logits.device, partial(self._gradient, problem, estimator, reference))

    def note(self, draw: Draw, values: Tensor, *, step: int | None = None) -> None:
        """The same without f, for entropy and the like: from a draw and f's values `[S, *batch]` at its points."""
        checks.values(values, draw.evaluations, draw.variables)
        self._turn("draw", step, draw.logits.device, lambda step: of_draw(draw, values))

    def summary(self) -> Progress:
        """Means by stages."""
        steps, own = self.budget.steps, self.budget.own
        share = f" ({own / steps:.2%} of the steps' time)" if steps > 0 else ""
        return Progress(
            summed_up(self.rows),
            f"{len(self._rows)} of {self.calls} steps measured in {own:.3g} s{share}. entropy: nats per variable; "
            f"eff.: effective categories; sat.: variables with a probability above {SATURATED}; cosine: of the mean "
            "gradient with an unbiased one."
            + (f" {NOTHING_UNBIASED}" if self._known is not None and self._known.mixes else ""),
        )

    def __str__(self) -> str:
        return str(self.summary())

    def write(self) -> None:
        """Write the file."""
        if self.path is None:
            raise ValueError("the monitor has no path to write to; give it one when it is made.")
        if self.path.suffix == ".jsonl":
            text = "".join(json.dumps(row) + "\n" for row in self.rows)
            write_whole(self.path, lambda file: file.write(text.encode()))
        else:
            write_table(self.path, COLUMNS, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {
            "rows": [dict(row) for row in self._rows],
            "calls": self.calls,
            "next": self._next,
            "seconds": dict(self._seconds),
            "budget": self.budget.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: with its rows, and without those after it."""
        self._rows = [dict(row) for row in state["rows"]]
        self.calls, self._next, self._seconds = state["calls"], state["next"], dict(state["seconds"])
        self.budget.load_state_dict(state["budget"])

    def _turn(
        self, kind: str, step: int | None, device: torch.device, measure: Callable[[int], dict[str, Any] | None]
    ) -> None:
        self.calls += 1
        step = self.calls if step is None else step
        self.budget.charge_steps()
        try:
            if self._due(kind, step):
                wait(device)
                self.budget.charge_steps()  # what a GPU had still to do
                self._row(kind, step, measure)
        finally:
            self.budget.charge_own()

    def _due(self, kind: str, step: int) -> bool:
        if self.every is not None:
            return step % self.every == 0
        if self.calls < self._next:
            return False
        # What was never done is expected to take as long as a step.
        seconds = self._seconds.get(kind, self.budget.steps / max(1, self.calls - 1))
        return self.budget.steps > 0 and self.budget.left >= seconds

    def _row(self, kind: str, step: int, measure: Callable[[int], dict[str, Any] | None]) -> None:
        clock = self.budget.clock
        start = clock()
        row = measure(step)
        if row is None:  # it only learned what a row takes
            return
        row |= {"step": step, "seconds": clock() - start}
        self._rows.append(row)
        if self.path is not None:
            self.write()
        self._seconds[kind] = (clock() - start) * GROUPS / row.get("replicates", GROUPS)
        self._next = self.calls + self.gap
        self.budget.waive()

    def _gradient(
        self, problem: Problem, estimator: Estimator, reference: Estimator | None, step: int
    ) -> dict[str, Any] | None:
        device = problem.logits.device
        # Its own generator, and copies of what notes values: the training's next step must not see the same numbers.
        generator = torch.Generator(device).manual_seed((self.seed * 0x9E3779B1 + step) % 2**63)
        used = copy.deepcopy(estimator) if estimator.learners else estimator
        if reference is not None and reference.learners:
            reference = copy.deepcopy(reference)
        with restored(device, problem.f, self.modules), torch.enable_grad():
            if self._known is None:
                self._known = problem.look(estimator.latent)
            problem = replace(problem, generator=generator, known=self._known)
            if self.every is None and "gradient" not in self._seconds:
                self._learn_seconds(problem, used, reference)
                return None
            own = Measured(problem, used)
            others = None if reference is None else Measured(problem, reference)
            while True:
                for one in (own, others):
                    if one is not None:
                        one.measure(GROUPS)
                found = of_gradient(own, others)
                count = own.moments.replicates
                if count + GROUPS > self.replicates or self._precise(found):
                    break
                if self.every is None and self.budget.left < self._seconds["gradient"]:
                    break
        latent = checks.named_latent(estimator.latent)
        row: dict[str, Any] = {**of_posterior(problem.logits, latent, problem.mask), **columns(found)}
        return row | {"inner": inner(own, others), "replicates": count}

    def _learn_seconds(self, problem: Problem, estimator: Estimator, reference: Estimator | None) -> None:
        """From one replicate of each; the first ever may load and compile things."""
        for _ in range(2):
            start = self.budget.clock()
            for one in (estimator, reference):
                if one is not None:
                    Measured(problem, one).measure(1)
            wait(problem.logits.device)
            self._seconds["gradient"] = GROUPS * (self.budget.clock() - start)

    def _precise(self, found: Mapping[str, Estimate]) -> bool:
        variance, cosine = found["variance"], found.get("cosine")
        return variance.error <= self.precision * variance.value and (cosine is None or cosine.error <= self.precision)
