"""Inverted files: costs by hand, their gradient by enumeration, the start is k-means, refusals."""

import pytest
import torch
from test_every_system import configure

import discretegrad as dg
from experiments.engine import World
from experiments.errors import UserError
from experiments.train import build, train


class Part(World):
    """A process that keeps what it would exchange."""

    def mean(self, total, count):
        return float(total), count


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return build(configure("inverted_file", tmp_path_factory.mktemp("runs") / "run")).task


def test_costs_are_counted(task):
    """Of each list for each document: minus 1 if its own query searches it, and the price of those that do."""
    queries = task.train_pairs.queries[:5]
    nearest = (queries @ task.centroids.T).argsort(dim=1, descending=True)[:, :2].tolist()
    for document, costs in enumerate(task.costs(queries).tolist()):
        for number, cost in enumerate(costs):
            searched = sum(number in own for own in nearest) / 5
            assert cost == pytest.approx(5.0 * searched - (number in nearest[document]), abs=1e-6)


@pytest.mark.parametrize("estimator", [dg.Exact(), dg.StraightThrough()], ids=["exact", "straight-through"])
def test_the_gradient_is_that_of_the_mean(estimator, task, monkeypatch):
    """Of the straight-through estimator as well: values are linear in the one-hot."""
    monkeypatch.setattr(task, "estimator", estimator)
    batch = task.train_pairs.take(torch.arange(6))
    probs = (batch.documents @ task.heads.T + task.biases).softmax(-1)
    learning = [task.heads, task.biases]
    expected = torch.autograd.grad((probs * task.costs(batch.queries)).sum(-1).mean(), learning)
    found = torch.autograd.grad(task(batch, torch.Generator()).loss, learning)
    for ours, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-6)
        assert float(wanted.abs().max()) > 1e-5


def test_documents_start_in_the_nearest_list(task):
    documents = task.train_pairs.documents
    assigned = (documents @ task.heads.T + task.biases).argmax(-1)
    means = torch.stack([documents[assigned == number].mean(0) for number in range(6)])  # where k-means has converged
    torch.testing.assert_close(torch.nn.functional.normalize(means, dim=-1), task.centroids, rtol=1e-3, atol=1e-4)
    held_out, probed = task.held_out, task.probed(task.held_out.queries)
    lists = (held_out.documents @ task.heads.T + task.biases).argmax(-1)
    found = {query for query, document in task.judged.pairs.tolist() if probed[query, lists[document]]}
    assert task.evaluate()["found"] == pytest.approx(len(found) / len(held_out.queries))
    assert task.evaluate()["scanned"] == pytest.approx(float(probed[:, lists].float().mean()))


@pytest.mark.parametrize("most", [None, 7])
def test_processes_share_the_queries(most, task, monkeypatch):
    """What two count together is what one does; neither asks all of them."""
    whole, parts = task.evaluate(most), []
    for rank in range(2):
        monkeypatch.setattr(task, "world", Part(rank, 2))
        parts.append(task.evaluate(most))
    for name, mean in whole.items():
        totals, counts = zip(*(part[name] for part in parts), strict=True)
        assert sum(counts) == (most or len(task.held_out.queries)) and min(counts) > 0
        assert sum(totals) / sum(counts) == pytest.approx(mean)


@pytest.mark.parametrize("estimator", ["rloo", "straight_through", "disarm_tree"])
def test_estimators_train_it(estimator, tmp_path):
    result = train(configure("inverted_file", tmp_path / "run", f"estimator={estimator}")).result
    assert 0 < result["scanned"] < 1


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["task.probes=6"], r"task\.probes=6 of task\.lists=6 are all"),
        (["task.lists=61"], r"task\.lists=61 is more than the 60 training documents"),
        (["task.entropy=0"], r"task\.entropy must be a number in"),
        (["estimator=vimco"], "VIMCO differentiates a multi-sample bound, where lists"),
    ],
)
def test_what_does_not_fit_is_refused(overrides, match, tmp_path):
    with pytest.raises(UserError, match=match):
        build(configure("inverted_file", tmp_path / "run", *overrides))
