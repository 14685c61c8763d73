import pytest
from calibration import chi2_isf, ncx2_sf, norm_isf, poisson_isf

stats = pytest.importorskip("scipy.stats", reason="the tails are compared with scipy's")


@pytest.mark.parametrize("tail", [0.3, 1e-3, 1e-6, 1e-9])
def test_tails_are_those_of_scipy(tail):
    assert norm_isf(tail) == pytest.approx(stats.norm.isf(tail), rel=1e-9)
    for freedom in (1, 7, 999, 20_000):
        assert chi2_isf(tail, freedom) == pytest.approx(stats.chi2.isf(tail, freedom), rel=1e-9)
        for shift in (0.5, 60, 3000):
            value = freedom + shift / 2
            assert ncx2_sf(value, freedom, shift) == pytest.approx(stats.ncx2.sf(value, freedom, shift), rel=1e-6)
    for mean in (1e-3, 0.7, 20, 300):
        assert poisson_isf(tail, mean) == stats.poisson.isf(tail, mean)
