"""The committed table is current: everything but the times is measured again and compared."""

import pytest

import discretegrad as dg
from experiments import table


def test_every_estimator_has_a_row():
    assert {name for name, _ in table.VARIANTS} == set(dg.ESTIMATORS)


@pytest.fixture(scope="module")
def committed():
    return {(line["estimator"], line["latent"]): line for line in table.read(table.DOCS / "estimators.csv")}


def test_the_numbers_are_current(committed):
    """Exact ones to their three digits, those of a long run (with its seed) to their noise besides."""
    measured = {(row.estimator, row.latent): row.cells() for row in table.rows(None)}
    assert list(measured) == list(committed), "run python -m experiments.table"
    for key, cells in measured.items():
        old = committed[key]
        for column in ("evaluations", "unbiased", "exact"):
            assert cells[column] == old[column], (key, column)
        noise = 0.0 if cells["exact"] == "yes" else 0.1
        for problem in table.PROBLEMS:
            error = float(cells[f"bias error {problem}"])
            close(cells, old, f"bias {problem}", 5e-3, 6 * error)
            close(cells, old, f"variance {problem}", 5e-3 + noise, 0.0)


def close(cells, old, column, relative, absolute):
    new, before = float(cells[column]), float(old[column])
    assert abs(new - before) <= relative * abs(before) + absolute + 1e-9, (cells["estimator"], column, new, before)


def test_declarations_hold_in_the_table(committed):
    for line in committed.values():
        biases = [float(line[f"bias {name}"]) for name in table.PROBLEMS]
        errors = [float(line[f"bias error {name}"]) for name in table.PROBLEMS]
        if line["unbiased"] == "yes":
            assert all(bias <= 6 * error for bias, error in zip(biases, errors, strict=True)), line["estimator"]
        else:
            assert max(biases) > 1e-3, line["estimator"]


def test_the_page_is_made_of_the_csv_file():
    lines = table.read(table.DOCS / "estimators.csv")
    page = (table.DOCS / "estimators.md").read_text()
    device = page.split("(8 categories), ")[1].split(". Only")[0]
    assert page == table.markdown(lines, device)


def test_a_stale_number_would_be_noticed():
    row = {"estimator": "x", "bias toy": "0.1"}
    close(row, {"bias toy": "0.1003"}, "bias toy", 5e-3, 0.0)
    with pytest.raises(AssertionError):
        close(row, {"bias toy": "0.102"}, "bias toy", 5e-3, 0.0)
