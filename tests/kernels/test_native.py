"""The C kernels come and go with a compiler: without one the same program runs, and many may compile at once."""

import os
import subprocess
import sys
import textwrap
import warnings

import pytest
import torch
from scipy import stats

import discretegrad as dg
from discretegrad.ops import dispatch, native, noise, tree

PROGRAM = """
    import sys, warnings
    warnings.simplefilter("always")
    with warnings.catch_warnings(record=True) as caught:
        import torch
        import discretegrad as dg
        from discretegrad.ops import dispatch
        logits = torch.zeros(50, 3, 4, requires_grad=True)
        for estimator in (dg.RLOO(), dg.DisARMTree(), dg.DisARMIW()):
            draw = estimator.sample(logits, torch.Generator().manual_seed(0))
            estimator.surrogate(draw, draw.points[..., 0].sum(-1)).sum().backward()
        assert logits.grad.isfinite().all()
        for dtype in (torch.float32, torch.float64):
            print(dispatch.implementation(torch.zeros(2, dtype=dtype)))
    for warning in caught:
        print(warning.category.__name__, warning.message)
"""


def start(cache, **environment):
    """A fresh process, whose only kernels are those that it compiles itself."""
    environment = {**os.environ, "DISCRETEGRAD_CACHE": str(cache), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.splitlines()


def compiler(folder, text):
    """A compiler that does what the text says."""
    path = folder / "cc"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def hasty(folder):
    """The compiler that is there, which optimises nothing: many times as fast."""
    return compiler(folder, 'exec cc "$@" -O0')


def test_two_processes_compile_at_once(tmp_path):
    cache, cc = tmp_path / "cache", hasty(tmp_path)
    for process in [start(cache, CC=cc) for _ in range(2)]:
        assert said(process) == ["native", "native"]
    assert len(list(cache.iterdir())) == 2  # one for each dtype, and nothing is left over


def test_without_a_compiler_the_same_program_runs(tmp_path):
    assert said(start(tmp_path, CC="no-such-compiler")) == ["fused", "fused"]


def libraries(monkeypatch, cache, **environment):
    """What this process would load in another environment, and what it says."""
    for name, value in {"DISCRETEGRAD_CACHE": str(cache), **environment}.items():
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = [native.library.__wrapped__(dtype) for dtype in native.REALS]
    return loaded, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("environment", [{"CC": "no-such-compiler"}, {"CC": ""}, {"DISCRETEGRAD_NATIVE": "0"}])
def test_without_a_compiler_it_is_silent(tmp_path, monkeypatch, environment):
    assert libraries(monkeypatch, tmp_path, **environment) == ([None, None], [])


@pytest.mark.parametrize(
    "text",
    [
        "exit 1",  # nothing works
        '[ "$1" = --version ] && exec echo broken; echo no header >&2; exit 1',
        '[ "$1" = --version ] && exec echo empty; for last; do :; done; : > "$last"',  # what it makes is no library
    ],
)
def test_a_compiler_that_fails_is_told_of_once(tmp_path, monkeypatch, text):
    loaded, (warning,) = libraries(monkeypatch, tmp_path / "cache", CC=compiler(tmp_path, text))
    assert loaded == [None, None]
    assert warning.startswith("discretegrad's C kernels could not be compiled")


def test_a_folder_that_cannot_be_written_to_is_told_of_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    loaded, (warning,) = libraries(monkeypatch, tmp_path / "file" / "folder")
    assert loaded == [None, None]
    assert "DISCRETEGRAD_CACHE" in warning


def test_a_compiler_without_openmp_serves(tmp_path, monkeypatch):
    text = 'for word; do [ "$word" = -fopenmp ] && exit 1; done; exec cc "$@" -O0'
    loaded, said = libraries(monkeypatch, tmp_path / "cache", CC=compiler(tmp_path, text))
    assert None not in loaded and not said


def test_the_processor_to_compile_for_can_be_named(tmp_path, monkeypatch):
    """It is told to the compiler, and libraries for different ones are kept apart."""
    made = []

    def record(compiler, flags, sources, path):
        made.append(([flag for flag in flags if flag.startswith("-march=")], path))
        raise OSError

    monkeypatch.setattr(native, "_compile", record)
    monkeypatch.setenv("DISCRETEGRAD_CACHE", str(tmp_path))
    monkeypatch.delenv("DISCRETEGRAD_MARCH", raising=False)
    for march in (None, "", "x86-64-v3"):
        if march is not None:
            monkeypatch.setenv("DISCRETEGRAD_MARCH", march)
        with pytest.raises(OSError):
            native._load(["cc"], "-DREAL=float")
    assert [flags for flags, _ in made] == [["-march=native"]] * 4 + [["-march=x86-64-v3"]] * 2
    paths = [path for _, path in made]
    assert paths[:2] == paths[2:4] and len(set(paths)) == 4  # with OpenMP and without


def test_a_processor_that_the_compiler_does_not_know_is_told_of_once(tmp_path, monkeypatch):
    loaded, (warning,) = libraries(monkeypatch, tmp_path, DISCRETEGRAD_MARCH="no-such-processor")
    assert loaded == [None, None]
    assert "DISCRETEGRAD_MARCH" in warning and "no-such-processor" in warning


def test_nothing_is_asked_of_a_missing_library(monkeypatch):
    monkeypatch.setattr(native, "library", lambda dtype: None)
    assert dispatch.implementation(torch.zeros(2)) == "fused"
    with pytest.raises(RuntimeError, match="need a compiler"), dispatch.using("native"):
        pass


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("order", [None, "ascending"])
@pytest.mark.parametrize("shape", ["balanced", "caterpillar"])
def test_many_rows_and_categories_on_any_number_of_threads(shape, order, threads):
    """What is divided among threads is put together again; up to the largest row."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for rows, categories in ((1001, 37), (3, 4096)):
            logits, noise = torch.randn(rows, categories).double(), torch.rand(3, 2, rows).double()
            values = torch.randn(2, rows).double()
            results = []
            for name in ("reference", "native"):
                with dispatch.using(name):
                    plan = tree.pairs(shape, order, logits)
                    indices, kept = plan.sample(noise)
                    results.append((indices, plan.gradient(indices, values, None, kept)))
            assert torch.equal(results[0][0], results[1][0])
            torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)
    finally:
        torch.set_num_threads(before)


EXPONENTIALS = """
    #include <stdio.h>
    #include "native.h"
    int main(void) {
        const int wide = sizeof(real) == 8;
        double worst = 0;
        for (int i = 0; i < 1000000; i++) {
            const real x = -(wide ? 708 : 87) * (real)i / 1000000;
            const long double truth = expl((long double)x);
            const int power = ilogb((double)truth);
            const double ulp = ldexp(1, wide ? fmax(power - 52, -1074) : fmax(power - 23, -149));
            worst = fmax(worst, fabs((double)(exp_of(x) - truth)) / ulp);
        }
        const int below = exp_of(wide ? -709 : -88) == 0 && exp_of(-INFINITY) == 0;
        printf("%d", worst < 1.5 && exp_of(0) == 1 && below && isnan(exp_of(NAN)));
    }
"""


@pytest.mark.parametrize("real", ["float", "double"])
def test_exponentials_are_right_to_the_last_digit(tmp_path, real):
    """Of numbers that are not normal any more they are 0."""
    (tmp_path / "main.c").write_text(textwrap.dedent(EXPONENTIALS))
    flags = [*native.FLAGS, native.march(), f"-DREAL={real}", f"-I{native.HERE}"]
    subprocess.run(["cc", *flags, "main.c", "-lm", "-o", "main"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout == "1"


def threefry(key, x):
    """Threefry4x32-20 of four words, from the paper's formulas."""
    bits = [(10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20)]
    key, mask = [*key, 0x1BD11BDA ^ key[0] ^ key[1] ^ key[2] ^ key[3]], 2**32 - 1
    x = [(word + own) & mask for word, own in zip(x, key, strict=False)]
    for turn in range(20):
        for one, two, by in zip((0, 2), (1, 3) if turn % 2 == 0 else (3, 1), bits[turn % 8], strict=True):
            x[one] = (x[one] + x[two]) & mask
            x[two] = ((x[two] << by | x[two] >> (32 - by)) & mask) ^ x[one]
        if turn % 4 == 3:
            s = (turn + 1) // 4
            x = [(word + key[(s + k) % 5] + (s if k == 3 else 0)) & mask for k, word in enumerate(x)]
    return x


def test_threefry_has_its_authors_words():
    """The known answers that come with the authors' Random123."""
    assert threefry([0] * 4, [0] * 4) == [0x9C6CA96A, 0xE17EAE66, 0xFC10ECD4, 0x5256A7D8]
    assert threefry([2**32 - 1] * 4, [2**32 - 1] * 4) == [0x2A881696, 0x57012287, 0xF6C7446E, 0xA16A6732]


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**63 - 2])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 200, 20_000])
def test_noise_is_threefry(count, seed):
    key, lanes = [seed % 2**32, seed >> 32, 0, 0], 16
    single = noise.native.uniform((count,), torch.float32, seed)
    double = noise.native.uniform((count,), torch.float64, seed)
    for at in {*range(min(count, 70)), *range(max(0, count - 3), count)}:
        block, place = divmod(at, 2 * lanes)
        words = threefry(key, [block * lanes + place % lanes, 0, 0, 0])
        first, second = words[2 * (place // lanes) :][:2]
        number = (first >> 5) * 2**26 + (second >> 6)
        assert float(double[at]) == number / 2**53
        spare = max(0, number.bit_length() - 24)
        assert float(single[at]) == (number >> spare << spare) / 2**53  # rounded down


def test_noise_is_uniform_and_independent():
    """Of one call, of its neighbours, and of calls with successive seeds: false alarm once in 10^6 runs."""
    drawn = torch.stack([noise.native.uniform((3, 40_000), torch.float32, seed) for seed in range(20)])
    cells = (drawn * 100).long().flatten().bincount(minlength=100)
    p_values = [stats.chisquare(cells).pvalue]
    for one, two in (
        (drawn[..., 1:], drawn[..., :-1]),
        (drawn[..., 16:], drawn[..., :-16]),
        (drawn[:, 1], drawn[:, 0]),
        (drawn[1:], drawn[:-1]),
    ):
        cells = ((one * 16).long() * 16 + (two * 16).long()).flatten().bincount(minlength=256)
        p_values.append(stats.chisquare(cells).pvalue)
    assert min(p_values) > 1e-6 / len(p_values), p_values


def test_noise_follows_the_generator():
    like = torch.zeros(1)
    one, again, other = (noise.uniform((5,), like, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    torch.manual_seed(3)
    assert torch.equal(noise.uniform((5,), like), one)
    assert not torch.equal(noise.uniform((5,), like), one)


def test_values_of_another_dtype_than_the_logits():
    logits, values = torch.randn(4, 3, 5, requires_grad=True), torch.randn(2, 4, dtype=torch.float64)
    for estimator in (dg.RLOO(), dg.Reinforce(2), dg.DisARMTree(), dg.DisARMSB(), dg.DisARMIW()):
        gradients = []
        for name in ("reference", "native"):
            with dispatch.using(name):
                draw = estimator.sample(logits, torch.Generator().manual_seed(0))
                gradients += torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_logits_that_are_not_contiguous():
    logits = torch.randn(5, 3, 4, dtype=torch.float64).transpose(0, 2)
    noise = torch.rand(3, 1, 4, 3, dtype=torch.float64)
    for shape, order in (("balanced", None), ("caterpillar", "abs"), (((0, 1), ((2, 4), 3)), "descending")):
        drawn = []
        for name in ("reference", "native"):
            with dispatch.using(name):
                drawn.append(tree.pairs(shape, order, logits).sample(noise)[0])
        assert torch.equal(*drawn)


@pytest.mark.parametrize("wrong", [-1, 5, 2**40])
def test_ids_that_are_no_categories_write_nowhere(wrong):
    logits, indices = torch.randn(4, 3, 5, requires_grad=True), torch.zeros(2, 4, 3, dtype=torch.int64)
    indices[1, 2, 1] = wrong
    for estimator in (dg.RLOO(), dg.DisARMTree(), dg.DisARMTree(order="abs")):
        draw = dg.draw.given(logits, indices, dg.latent.LATENTS["categorical"])
        with pytest.raises(IndexError, match="must lie in"):
            estimator.surrogate(draw, torch.randn(2, 4)).sum().backward()


@pytest.mark.parametrize("estimator", [dg.RLOO(), dg.DisARMTree(), dg.DisARMSB(order="abs"), dg.DisARMIW()], ids=str)
def test_logits_that_are_not_numbers_draw_some_category(estimator):
    logits = torch.randn(50, 3, 5)
    logits[torch.rand(logits.shape) < 0.3] = torch.nan
    indices = estimator.sample(logits, validate=False).indices
    assert ((indices >= 0) & (indices < 5)).all()


@pytest.mark.parametrize("estimator", [dg.RLOO(), dg.DisARMTree(), dg.DisARMIW()])
def test_logits_that_are_a_parameter(estimator):
    logits = torch.randn(4, 3, 5, dtype=torch.float64)
    gradients = []
    for leaf in (logits.clone().requires_grad_(), torch.nn.Parameter(logits.clone())):
        draw = estimator.sample(leaf, torch.Generator().manual_seed(0))
        gradients += torch.autograd.grad(estimator.surrogate(draw, draw.points[..., 1].sum(-1).square()).sum(), leaf)
    assert torch.equal(*gradients)
