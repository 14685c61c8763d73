"""The monitor: right where the answer is known, within its share of the time, and nothing is left behind."""

import csv
import json
import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from calibration import FALSE_ALARM, assert_mean
from catalogue import drawn_where, logits_of, table_function
from scipy import stats
from torch import nn

import discretegrad as dg
from discretegrad.analysis import Moments, Monitor
from discretegrad.analysis.stages import COLUMNS

COMPARISONS = 17
LATER = {"seconds", "stage"}
"""The columns in which two equal runs differ, and that which depends on how many rows there are."""


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def timed(clock, seconds):
    """An f each of whose evaluations takes so long."""

    def f(points):
        clock.now += seconds * len(points)
        return points[..., 0].sum(-1)

    return f


def watched(estimator, f, logits, rows, **arguments):
    """A monitor that measured so often at the same logits."""
    monitor = Monitor(every=1, **arguments)
    for _ in range(rows):
        monitor.after(estimator, f, logits)
    return monitor


def column(monitor, name):
    return torch.tensor([row[name] for row in monitor.rows], dtype=torch.float64)


def assert_estimates(monitor, name, exact, relative_bias):
    """The mean over rows is exact, and the errors are what repetition shows: at 200 rows 1.6 is 8 standard errors."""
    values, errors = column(monitor, name), column(monitor, f"{name}_se")
    assert_mean(values, exact, relative_bias, COMPARISONS)
    assert 1 / 1.6 < float(errors.square().mean().sqrt() / values.std()) < 1.6


def assert_close(found, exact):
    score = (found.value - exact) / found.error
    assert abs(score) < stats.norm.isf(FALSE_ALARM / COMPARISONS / 2), f"{found}, not {exact}"


def problem(batch=40, variables=2, categories=3):
    """The same for every batch element, so that what is summed over the batch is known and rows are precise."""
    table, logits = table_function(variables, categories), logits_of("ordinary", variables, categories)

    def f(points):
        return table(points.flatten(0, 1)).unflatten(0, points.shape[:2])

    return f, logits.expand(batch, *logits.shape), table, logits


@pytest.mark.parametrize("estimator", [pytest.param(dg.RLOO(4), marks=pytest.mark.slow), dg.DisARMTree()])
def test_variance_and_value_are_those_of_the_oracle(estimator):
    f, batch, table, logits = problem()
    monitor = watched(estimator, f, batch, 300, precision=0.08)
    moments = dg.exact.moments(estimator, table, logits)
    assert_estimates(monitor, "variance", float(40 * moments.total_variance), 0.05)
    assert_estimates(monitor, "value", float(dg.exact.expectation(table, logits)), 0.05)
    assert 8 < column(monitor, "replicates").mean() < 32, "it stops where the precision is reached"
    assert_mean(column(monitor, "snr"), float((moments.mean.square().sum() / moments.total_variance).sqrt()), 0.05,
                COMPARISONS)  # fmt: skip
    assert monitor.rows[0]["evaluations"] == estimator.evaluations
    assert monitor.rows[0]["cosine"] is None, "what is unbiased is not compared unless asked"


@pytest.mark.slow
def test_an_unbiased_estimator_is_seen_to_be_unbiased():
    f, batch, _, _ = problem()
    monitor = watched(dg.DisARMTree(), f, batch, 400, reference=dg.RLOO(2))
    assert_estimates(monitor, "cosine", 1.0, 0.02)
    bias2 = column(monitor, "bias2")
    score = bias2.mean() / (bias2.std() / len(bias2) ** 0.5)
    assert abs(score) < stats.norm.isf(FALSE_ALARM / COMPARISONS / 2)


@pytest.mark.slow
def test_a_biased_estimator_s_bias_is_that_of_the_oracle():
    """Straight-through where its gradient points away from the true one by some 50 degrees."""
    weight = torch.tensor([[0.0, 3.0, -1.0], [2.0, -2.0, 1.0]], dtype=torch.float64)

    def table(points):
        return (3 * (points * weight).sum((-1, -2))).sin()

    logits = logits_of("ordinary", 2, 3)
    moments, truth = dg.exact.moments(dg.StraightThrough(), table, logits), dg.exact.gradient(table, logits)
    cosine = float(torch.cosine_similarity(moments.mean.flatten(), truth.flatten(), dim=0))
    assert cosine < 0.9
    monitor = watched(dg.StraightThrough(), table, logits.expand(40, 2, 3), 200, precision=0.05, stages=1)
    assert_estimates(monitor, "bias2", float(40 * (moments.mean - truth).square().sum()), 0.05)
    assert_estimates(monitor, "variance", float(40 * moments.total_variance), 0.05)
    found = monitor.summary().stages[0].estimates["cosine"]
    assert found.value < 1 - 10 * found.error, "visibly biased"
    assert_close(found, cosine)
    assert_close(
        monitor.summary().stages[0].estimates["relative_bias"], float((moments.mean - truth).norm() / truth.norm())
    )


@pytest.mark.slow
def test_a_stage_knows_the_bias_that_drowns_in_the_noise_of_single_rows():
    weight = torch.tensor([[0.0, 3.0, -1.0], [2.0, -2.0, 1.0]], dtype=torch.float64)

    def table(points):
        return (3 * (points * weight).sum((-1, -2))).sin()

    logits = 0.3 * logits_of("ordinary", 2, 3)
    moments, truth = dg.exact.moments(dg.StraightThrough(), table, logits), dg.exact.gradient(table, logits)
    monitor = watched(dg.StraightThrough(), table, logits.expand(3, 2, 3), 600, replicates=8, stages=1)
    cosines = [row["cosine"] for row in monitor.rows]
    assert sum(cosine is None for cosine in cosines) > 20
    found = monitor.summary().stages[0].estimates
    assert found["cosine"].error < 0.2
    assert_close(found["cosine"], float(torch.cosine_similarity(moments.mean.flatten(), truth.flatten(), dim=0)))
    assert_close(found["relative_bias"], float((moments.mean - truth).norm() / truth.norm()))
    assert_close(found["snr"], float((3 * moments.mean.square().sum() / (3 * moments.total_variance)).sqrt()))


@pytest.mark.parametrize(
    ("logits", "mask", "latent", "expected"),
    [
        (torch.zeros(5, 2, 4), None, "categorical", (math.log(4), 4.0, 0.0)),
        (torch.tensor([[0.0, 0.0, -torch.inf], [9.0, 0.0, -torch.inf]]), None, "categorical",
         ((math.log(2) + 0.00123402) / 2, 1.50061739, 0.5)),
        (torch.zeros(3, 2), None, "bernoulli", (math.log(2), 2.0, 0.0)),
        (torch.tensor([0.0, torch.nan]), torch.tensor([True, False]), "bernoulli", (math.log(2), 2.0, 0.0)),
        (torch.tensor([[0.0, 99.0]]), None, "bernoulli", (math.log(2) / 2, 1.5, 0.5)),
    ],
)  # fmt: skip
def test_entropy_is_exact(logits, mask, latent, expected):
    estimator, monitor = dg.RLOO(2, latent), Monitor(every=1)
    monitor.after(estimator, lambda points: points.flatten(1).sum(1) * 1.0, logits, mask=mask)
    draw = estimator.sample(logits, mask=mask)
    monitor.note(draw, draw.points.flatten(1).sum(1))
    for row in monitor.rows:
        found = [row[name] for name in ("entropy", "effective_categories", "saturated")]
        torch.testing.assert_close(found, list(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [(0.001, 500), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((0.02, 2000), (0.3, 20_000)))],
)
@pytest.mark.parametrize("estimator", [dg.RLOO(4), dg.GumbelSoftmax()])
def test_the_share_of_the_time_is_kept_and_used(seconds, steps, estimator):
    """Costs that never change are kept to exactly, once they are known from a first replicate."""
    clock = Clock()
    monitor = Monitor(share=0.05, clock=clock, precision=1e-9)
    f, logits = (
        timed(clock, seconds) if estimator.unbiased else differentiable(timed(clock, seconds)),
        torch.zeros(2, 3, 4),
    )
    one = seconds * (4 if estimator.unbiased else 5)
    learned = 2 * one + 9 * seconds  # and a look at f
    for _ in range(steps):
        clock.now += 1.0
        monitor.after(estimator, f, logits)
        assert monitor.budget.own <= max(learned, 0.05 * monitor.budget.steps) + 1e-9
    assert clock.now == pytest.approx(monitor.budget.own + monitor.budget.steps + 1.0)
    most = steps / 10 * 64 * one  # a row every tenth step, with all replicates
    assert monitor.budget.own > 0.8 * min(most, 0.05 * monitor.budget.steps)
    assert min(b["step"] - a["step"] for a, b in pairwise(monitor.rows)) >= 10


def differentiable(f):
    return lambda points: f(points) ** 2


def test_what_took_longer_than_expected_is_made_up_for():
    clock = Clock()
    monitor = Monitor(share=0.05, clock=clock)
    for step in range(10_000):
        clock.now += 1.0
        monitor.after(dg.RLOO(4), timed(clock, 0.01 if step < 1000 else 3.0), torch.zeros(2, 3, 4))
    assert monitor.budget.own < 0.05 * monitor.budget.steps
    steps = [row["step"] for row in monitor.rows if row["step"] > 1000]
    # 8 replicates take 96 s now, for which 1,920 steps must pay: first for the row that came too early.
    assert [round((after - before) / 1920) for before, after in pairwise(steps)] == [2, 1, 1]


def test_a_pause_pays_for_one_row_only():
    clock = Clock()
    monitor = Monitor(share=0.05, clock=clock, precision=1e-9)
    f = timed(clock, 0.1)
    for step in range(1000):
        clock.now += 1e6 if step == 900 else 1.0
        monitor.after(dg.RLOO(4), f, torch.zeros(2, 3, 4), step=step)
    rows = [row for row in monitor.rows if row["step"] >= 900]
    assert rows[0]["replicates"] == 64
    assert all(row["replicates"] == 8 for row in rows[1:])
    assert len(rows) <= 1 + 100 * 0.05 / 3.2


def test_nothing_is_called_between_the_measured_steps():
    monitor = Monitor(every=10)
    for step in range(1, 10):
        monitor.after(dg.RLOO(), lambda points: pytest.fail("f was called"), torch.zeros(2, 3, 4), step=step)
    assert monitor.rows == []
    assert "0 of 9 steps" in str(monitor)


class Model(nn.Module):
    """Batch normalisation, which a call moves, and dropout, which takes random numbers."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(6, 3, 4))
        self.layers = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))

    def forward(self, points):
        return self.layers(points.flatten(2).flatten(0, 1)).reshape(points.shape[:2])


ESTIMATORS = {
    "note": lambda: dg.DisARMTree(num_pairs=2, alpha=dg.nn.EstimatedShare()),
    "mean": lambda: dg.Reinforce(2, dg.nn.RunningMean()),
    "learned": lambda: dg.Reinforce(2, dg.nn.LearnedBaseline(nn.Sequential(nn.Flatten(), nn.LazyLinear(1)))),
    "relaxed": lambda: dg.RELAX(nn.Linear(12, 1)),
    "path": lambda: dg.GumbelSoftmax(),
}


@pytest.mark.parametrize(("name", "form"), drawn_where(list(ESTIMATORS), ["module", "closure", "method"]))
def test_training_is_the_same_with_and_without_bit_for_bit(name, form):
    results = []
    for watch in (False, True):
        torch.manual_seed(0)
        model, estimator = Model(), ESTIMATORS[name]()
        f = {"module": model, "closure": lambda points, model=model: model(points), "method": model.forward}[form]
        reference = estimator if estimator.unbiased else dg.RLOO(2)
        monitor = Monitor(every=1, reference=reference)
        draw = estimator.sample(model.logits)
        estimator.surrogate(draw, model(draw.points))  # lazy layers get their shapes
        learners = list(estimator.learners)
        parameters = [*model.parameters(), *(p for learner in learners for p in learner.parameters())]
        optimizer = torch.optim.Adam(parameters, 0.01)
        trace = []
        for _ in range(5):
            optimizer.zero_grad()
            draw = estimator.sample(model.logits)
            values = model(draw.points)
            loss = estimator.surrogate(draw, values).sum()
            for learner in learners:
                loss = loss + learner.loss(draw, values)
            loss.backward()
            if watch:
                monitor.after(estimator, f, model.logits)
                monitor.note(draw, values)
            trace += [p.grad.clone() for p in parameters if p.grad is not None]
            optimizer.step()
            for learner in learners:
                learner.update(draw, values.detach())
        assert len(monitor.rows) == (10 if watch else 0)
        states = [value for module in (model, *learners) for value in module.state_dict().values()]
        results.append([*trace, *states, torch.get_rng_state()])
        assert all(part.training for part in model.modules())
    for plain, with_monitor in zip(*results, strict=True):
        assert torch.equal(plain, with_monitor)


def test_moments_of_few_groups_are_kept_and_merged_with_their_like():
    samples = torch.randn(24, 5, dtype=torch.float64)
    whole, first, second = (Moments({"logits": 5}, groups=8) for _ in range(3))
    whole.update(samples)
    first.update(samples[:8])
    second.update(samples[8:])
    first.merge(Moments.of_state(second.state()))
    assert first.groups == 8
    for one in (whole, first):
        assert one.summary().variance.value == pytest.approx(float(samples.var(0).sum()))
        assert one.summary().variance.error == pytest.approx(whole.summary().variance.error)
    with pytest.raises(ValueError, match="in 32 groups do not merge with those in 8"):
        first.merge(Moments({"logits": 5}))


def small(points):
    return (points @ torch.arange(4.0)).sum(-1).square()


def test_resumed_it_goes_on_as_if_never_stopped(tmp_path):
    whole, first = (Monitor(every=3, stages=(6, 9), path=tmp_path / f"{name}.csv") for name in ("whole", "parts"))
    logits = torch.randn(5, 3, 4)
    for step in range(1, 16):
        whole.after(dg.RLOO(), small, logits * step)
        if step <= 8:
            first.after(dg.RLOO(), small, logits * step)
        if step == 7:
            torch.save(first.state_dict(), tmp_path / "state")
    second = Monitor(every=3, stages=(6, 9), path=tmp_path / "parts.csv")
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    for step in range(8, 16):
        second.after(dg.RLOO(), small, logits * step)
    rows = [[{k: v for k, v in row.items() if k not in LATER} for row in one.rows] for one in (whole, second)]
    assert rows[0] == rows[1]
    tables = [list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines())) for name in ("whole", "parts")]
    assert [row["variance"] for row in tables[0]] == [row["variance"] for row in tables[1]]
    assert list(tables[0][0]) == list(COLUMNS)
    assert [row["stage"] for row in tables[1]] == ["1", "1", "2", "3", "3"]


def test_a_resumed_budget_goes_on_and_time_between_runs_is_nobody_s():
    clock = Clock()
    first, second = Monitor(clock=clock), Monitor(clock=clock)
    for step in range(200):
        monitor = first if step < 100 else second
        if step == 100:
            second.load_state_dict(first.state_dict())
            clock.now += 1e6
        clock.now += 1.0
        monitor.after(dg.RLOO(4), timed(clock, 0.01), torch.zeros(2, 3, 4))
    assert second.budget.steps == pytest.approx(198)
    assert 0 < len(first.rows) < len(second.rows)


def test_from_a_draw_alone_the_value_is_the_estimator_s():
    for estimator in (dg.RLOO(4), dg.SumAndSample(2), dg.MuProp(2), dg.LocalExpectation()):
        torch.manual_seed(1)
        logits, mask = torch.randn(5, 3, 4, requires_grad=True), torch.tensor([[True] * 3] * 4 + [[False] * 3])
        draw = estimator.sample(logits, mask=mask)
        values, monitor = small(draw.points), Monitor(every=1)
        monitor.note(draw, values, step=4)
        expected = float(estimator.surrogate(draw, values).mean().detach())
        (row,) = monitor.rows
        assert row["value"] == pytest.approx(expected, rel=1e-5)
        assert (row["step"], row["variance"], row["replicates"]) == (4, None, None)


def test_ids_context_and_mask_are_passed_on():
    mask = torch.tensor([[True, True, False]] * 5)
    baseline = dg.nn.LearnedBaseline(nn.Linear(2, 1))
    monitor = Monitor(every=1, replicates=8)
    monitor.after(dg.Reinforce(2, baseline), lambda ids: ids.sum(-1).float(), torch.randn(5, 3, 4), mask=mask,
                  context=torch.randn(5, 2), on="ids")  # fmt: skip
    assert monitor.rows[0]["replicates"] == 8
    assert monitor.rows[0]["variance"] > 0


def test_values_that_are_not_finite_leave_empty_cells_and_a_training_that_goes_on(tmp_path):
    monitor = Monitor(every=1, path=tmp_path / "rows.jsonl")
    for estimator in (dg.RLOO(), dg.GumbelSoftmax()):
        monitor.after(estimator, lambda points: points.sum((-1, -2)) * torch.nan, torch.zeros(2, 3, 4))
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows == monitor.rows
    assert [row["variance"] for row in rows] == [None, None]
    assert rows[1]["entropy"] == pytest.approx(math.log(4))
    assert "-" in str(monitor)


def test_stages_are_summed_up_in_a_table_that_fits():
    monitor = Monitor(every=1, stages=(1000, 4000))
    for step in (10, 500, 1000, 1001, 100_000):
        monitor.after(dg.StraightThrough(), lambda points: -1e5 * small(points), torch.randn(5, 3, 4), step=step)
    stages = monitor.summary().stages
    assert [(one.number, one.first, one.last, one.rows) for one in stages] == [
        (1, 10, 1000, 3), (2, 1001, 1001, 1), (3, 100_000, 100_000, 1)
    ]  # fmt: skip
    entropies = [row["entropy"] for row in monitor.rows][:3]
    found = stages[0].estimates["entropy"]
    assert found.value == pytest.approx(sum(entropies) / 3)
    neighbours = (entropies[1] - entropies[0]) ** 2 + (entropies[2] - entropies[1]) ** 2
    assert found.error == pytest.approx((neighbours / 2 / 2 / 3) ** 0.5)
    assert stages[1].estimates["variance"].error == pytest.approx(monitor.rows[3]["variance_se"])
    assert max(map(len, str(monitor).splitlines())) <= 80
    equal = Monitor(every=1, stages=2)
    equal.load_state_dict(monitor.state_dict())
    assert [row["stage"] for row in equal.rows] == [1, 1, 1, 2, 2]


AFTER = partial(Monitor(every=1).after, logits=torch.zeros(2, 3, 4), f=small)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Monitor(share=0), "share is that of the steps' time"),
        (lambda: Monitor(share=5), "above 0 and at most 1, not 5"),
        (lambda: Monitor(every=0), "every must be an integer of at least 1"),
        (lambda: Monitor(stages=(4000, 1000)), r"ascending steps such as \(1000, 4000\)"),
        (lambda: Monitor(stages="abc"), "stages are ascending steps"),
        (lambda: Monitor(stages=0), "stages must be an integer of at least 1"),
        (lambda: Monitor(precision=0), "precision must be positive"),
        (lambda: Monitor(replicates=7), "replicates must be at least 8"),
        (lambda: Monitor(gap=0), "gap must be an integer"),
        (lambda: Monitor(reference=dg.StraightThrough()), "the reference must be an unbiased estimator"),
        (lambda: Monitor().write(), "no path to write to"),
        (lambda: AFTER("rloo"), "the first argument is the estimator, such as RLOO"),
        (lambda: AFTER(dg.VIMCO(4)), r"VIMCO differentiates a multi-sample bound, .* note\(draw, values\)"),
        (lambda: AFTER(dg.MuProp(), on="ids"), "MuProp"),
        (lambda: AFTER(dg.RLOO(), f=lambda points: points), "values"),
        (lambda: Monitor(reference=dg.RLOO(latent="bernoulli")).after(dg.RLOO(), small, torch.zeros(2, 3, 4)),
         "the reference is for bernoulli latents, and RLOO for categorical ones"),
        (lambda: Monitor().note(dg.RLOO().sample(torch.zeros(2, 3, 4)), torch.zeros(3, 2)), "values"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_sentence(call, match):
    with pytest.raises((TypeError, ValueError), match=match) as refusal:
        call()
    assert "\n" not in str(refusal.value)
