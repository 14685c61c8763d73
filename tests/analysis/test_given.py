"""A true gradient that the user knows: taken at its word, and kept in files."""

import pytest
import torch
from torch import nn

import discretegrad as dg
from discretegrad import analysis

LOGITS = torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
ARGUMENTS = {"estimators": [dg.RLOO(2)], "replicates": 64, "rounds": 0, "progress": False}


def f(points):
    return (points @ torch.arange(4.0, dtype=points.dtype)).sum(-1).square()


def compare(**arguments):
    return analysis.compare(f, LOGITS, **(ARGUMENTS | arguments))


@pytest.fixture(scope="module")
def enumerated():
    return compare()


@pytest.fixture
def unknown(monkeypatch):
    """No truth by enumeration."""
    monkeypatch.setattr(analysis.sources, "ENUMERATED", 1)


def test_a_given_truth_is_as_good_as_an_enumerated_one(enumerated, unknown):
    exact = enumerated.truth.gradient
    truths = [exact, exact.reshape_as(LOGITS), {"logits": exact}, {"logits": exact.reshape_as(LOGITS)}]
    for truth in truths:
        found = compare(truth=truth)
        assert found.truth_name == "given" and found.long_run is None
        assert found.results["RLOO"].mse == enumerated.results["RLOO"].mse
    assert "Truth: given, squared norm" in str(found)
    shifted = compare(truth=exact + 10.0)
    assert shifted.results["RLOO"].bias2.value == pytest.approx(100 * len(exact), rel=0.5)


def test_layers_by_name():
    layer = nn.Linear(3, 4).double()
    logits = layer(torch.eye(3, dtype=torch.float64)).unsqueeze(1)
    arguments = ARGUMENTS | {"wrt": layer}
    exact = analysis.compare(f, logits, **arguments).truth.gradient
    by_layer = {"bias": exact[12:], "weight": exact[:12].reshape(4, 3)}
    for truth in (exact, by_layer):
        assert torch.equal(analysis.compare(f, logits, truth=truth, **arguments).truth.gradient, exact)
    with pytest.raises(ValueError, match=r"shape \[4, 3\].*has \[16\]"):
        analysis.compare(f, logits, truth=by_layer["weight"], **arguments)
    with pytest.raises(ValueError, match=r"layers 'bias', but .* 'weight', 'bias'"):
        analysis.compare(f, logits, truth={"bias": exact[12:]}, **arguments)


def test_a_file_keeps_it_and_takes_no_other(enumerated, unknown, tmp_path):
    exact, path = enumerated.truth.gradient, tmp_path / "given.pt"
    compare(truth=exact, path=path)
    assert compare(path=path).truth_name == "given"
    again = compare(truth=exact.reshape_as(LOGITS) * (1 + 1e-7), path=path)
    assert torch.equal(again.truth.gradient, exact * (1 + 1e-7))
    with pytest.raises(ValueError, match=r"another truth \(given\)"):
        compare(truth=2 * exact, path=path)
    enumerated.save(path)
    with pytest.raises(ValueError, match=r"another truth \(enumeration\)"):
        compare(truth=2 * exact, path=path)
    assert "replicates of" in compare(path=tmp_path / "long.pt").truth_name
    assert compare(truth=exact, path=tmp_path / "long.pt").truth_name == "given"


def test_a_merge_has_one_truth(enumerated, unknown):
    exact = enumerated.truth.gradient
    other = compare(seed=1, truth=2 * exact)
    for one, another in ((enumerated, other), (other, enumerated)):
        with pytest.raises(ValueError, match="different truths"):
            one.merge(another)
    by_run = compare(seed=2)
    for merged in (other.merge(by_run), by_run.merge(other)):
        assert merged.truth_name == "given" and torch.equal(merged.truth.gradient, 2 * exact)
