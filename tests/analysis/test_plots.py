"""Figures of comparisons: they draw without warnings, in letters that can be read, told apart in grey."""

import io
import itertools
import math
import sys
from importlib import import_module

import pytest
from catalogue import drawn_where
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text

import discretegrad
from discretegrad import analysis
from discretegrad.analysis import drawing, plots


def test_they_are_there_with_the_analysis_but_not_imported_before(monkeypatch):
    assert analysis.plots is plots
    monkeypatch.setattr(discretegrad, "analysis", analysis)  # puts it back, as the modules below
    for name in [name for name in sys.modules if f"{name}.".startswith("discretegrad.analysis.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # to import it is an error now
    anew = import_module("discretegrad.analysis")
    assert anew is not analysis and anew.compare is not analysis.compare
    with pytest.raises(ImportError, match="matplotlib"):
        _ = anew.plots
    with pytest.raises(AttributeError, match="no attribute 'plot'"):
        _ = analysis.plot


def rows(cells=2, failed=True):
    made = []
    for cell in range(cells):
        for i, name in enumerate(["RLOO(2)", "RLOO(4)", "DisARMTree(2)", "ReinMax(1.0)", "ReinMax(2.0)", "Exact()"]):
            biased, variance = name.startswith("ReinMax"), 0.0 if name == "Exact()" else 2.0 / (1 + i) * 10.0**cell
            row = {"cell": f"cell {cell}", "name": name, "unbiased": not biased, "entropy": 0.2 + 0.3 * cell}
            row |= {"evaluations": 2 + i, "bias2": 0.1 * i * biased, "bias2_se": 0.02 if biased else 0.0}
            for column in ("variance", "mse", "variance_time", "variance_evaluations"):
                row |= {column: variance, f"{column}_se": 0.1 * variance}
            made.append(row)
    if failed:
        made.append({**dict.fromkeys(made[0]), "cell": "cell 0", "name": "MuProp()", "failure": "no gradient"})
    return made


def layer_rows():
    return [
        {"cell": "a", "name": name, "layer": layer, "variance": value, "variance_se": 0.05}
        for name, value in (("RLOO(2)", 1.0), ("RLOO(4)", 0.3), ("DisARM()", 0.9))
        for layer in ("0.weight", "0.bias", "2.weight")
    ]


FIGURES = {
    "variance_against_evaluations": lambda width: plots.variance_against_evaluations(rows(), width),
    "variance_time": lambda width: plots.variance_time(rows(), width=width),
    "over a baseline": lambda width: plots.variance_time(rows(), "mse", "RLOO(2)", width),
    "bias_variance": lambda width: plots.bias_variance(rows(), width),
    "layers": lambda width: plots.layers(layer_rows(), "RLOO(2)", width),
    "ranking_by_entropy": lambda width: plots.ranking_by_entropy(rows(), "RLOO(2)", width=width),
    "one panel": lambda width: plots.variance_time(rows(1), width=width),
    "many panels": lambda width: plots.bias_variance(rows(7), width),
}


@pytest.mark.parametrize(("name", "width"), drawn_where(FIGURES, [plots.COLUMN, plots.PAGE]))
def test_figures_are_drawn_at_print_size(name, width):
    figure = FIGURES[name](width)
    figure.savefig(io.BytesIO(), format="png")
    assert figure.get_figwidth() == width
    shown = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert shown and min(text.get_fontsize() for text in shown) >= 8.0


@pytest.mark.parametrize(
    "name", ["variance_against_evaluations", "variance_time", "bias_variance", "ranking_by_entropy"]
)
def test_every_point_has_an_error_bar(name):
    for axis in FIGURES[name](plots.PAGE).axes:
        bars = [one for one in axis.containers if isinstance(one, ErrorbarContainer)]
        assert bars and all(one.has_yerr or one.has_xerr for one in bars)


@pytest.mark.parametrize("count", [2, 7, 12])
def test_series_differ_in_lightness_marker_and_filling(count):
    styles = list(drawing.styles(map(str, range(count))).values())
    lightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in (style["color"] for style in styles)]
    assert all(after > before for before, after in itertools.pairwise(lightness))
    assert lightness[-1] < 0.7  # on white paper
    assert len({style["marker"] for style in styles}) == count


def test_relative_numbers_have_the_error_of_a_ratio():
    found = plots.relative(rows(1), "RLOO(2)", "variance")
    base, other = found[0], found[1]
    assert (base["variance"], base["variance_se"]) == (1.0, 0.0)
    assert other["variance"] == pytest.approx(0.5)
    assert other["variance_se"] == pytest.approx(0.5 * math.hypot(0.1, 0.1))


def test_nothing_to_draw_is_an_empty_figure():
    plots.variance_against_evaluations([]).savefig(io.BytesIO(), format="png")
    plots.variance_time([]).savefig(io.BytesIO(), format="png")
    plots.bias_variance([]).savefig(io.BytesIO(), format="png")
