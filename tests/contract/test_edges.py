"""Between the two phases: what changes there, what is computed again, and draws that must differ or must not."""

import collections

import pytest
import torch
from catalogue import every, make
from torch.utils.checkpoint import checkpoint

import discretegrad as dg

OF_F = [one for one in every() if make(*one).needs_grad_f and not isinstance(make(*one), dg.Pathwise)]


def logits_for(latent, **options):
    return torch.randn((4, 3) if latent == "bernoulli" else (4, 3, 5), **options)


def f(points):
    return points.flatten(2).cumsum(-1).square().sum(-1)


# Logits that are changed in place


@pytest.mark.parametrize(("name", "latent"), every())
def test_logits_that_were_changed_in_place_are_refused(name, latent):
    estimator = make(name, latent)
    leaf = logits_for(latent, requires_grad=True)
    for logits in (leaf, leaf * 1.0, leaf.expand(2, *leaf.shape).select(0, 1)):
        draw = estimator.sample(logits)
        values = f(draw.points)
        with torch.no_grad():
            logits.add_(1.0)
        with pytest.raises(ValueError, match="changed in place between sample and surrogate"):
            estimator.surrogate(draw, values)


def test_a_step_of_an_optimizer_is_a_change_in_place():
    logits = torch.zeros(4, 3, 5, requires_grad=True)
    draw = dg.RLOO().sample(logits)
    dg.RLOO()(f, logits).sum().backward()
    torch.optim.Adam([logits]).step()
    with pytest.raises(ValueError, match="before an optimizer steps"):
        dg.RLOO().surrogate(draw, f(draw.points))


# What cannot be meant


@pytest.mark.parametrize(("name", "latent"), every())
def test_nan_among_values_that_count_is_refused(name, latent):
    estimator = make(name, latent)
    draw = estimator.sample(logits_for(latent, requires_grad=True))
    values = f(draw.points)
    spoiled = values * torch.tensor([1.0, 1.0, torch.nan, 1.0])
    with pytest.raises(ValueError, match="values hold NaN"):
        estimator.surrogate(draw, spoiled)
    estimator.surrogate(draw, spoiled, validate=False)
    if draw.evaluations > len(draw.indices):
        last = torch.cat((values[:-1], values[-1:] * torch.nan))
        with pytest.raises(ValueError, match="values hold NaN"):
            estimator.surrogate(draw, last)


@pytest.mark.parametrize(("name", "latent"), every())
def test_a_draw_under_inference_mode_is_refused(name, latent):
    estimator = make(name, latent)
    logits = logits_for(latent, requires_grad=True)
    with torch.inference_mode():
        draw = estimator.sample(logits)
        if not estimator.learners:  # whose networks may be differentiated inside
            assert not estimator.surrogate(draw, f(draw.points)).requires_grad
    with pytest.raises(ValueError, match=r"torch\.inference_mode"):
        estimator.surrogate(draw, f(draw.points.clone()))


@pytest.mark.parametrize(("name", "latent"), OF_F)
def test_estimators_that_differentiate_f_say_so_in_transforms(name, latent):
    estimator = make(name, latent)
    gradient = torch.func.grad(lambda logits: estimator(f, logits).sum())
    with pytest.raises(ValueError, match="differentiates f inside of surrogate"):
        torch.func.vmap(gradient, randomness="different")(torch.zeros(2, *logits_for(latent).shape))


@pytest.mark.parametrize("kind", [list, collections.UserList])
def test_any_sequence_of_two_is_a_node_of_a_tree(kind):
    tree = kind([kind([0, 1]), (2, kind([3, 4]))])
    expected = dg.DisARMTree(tree=((0, 1), (2, (3, 4))))
    assert dg.DisARMTree(tree=tree) == expected
    assert hash(dg.DisARMTree(tree=tree)) == hash(expected)
    assert dg.DisARMBound(tree=tree).coupling.shape == expected.coupling.shape


def test_a_list_of_a_configuration_is_a_tree():
    tree = pytest.importorskip("omegaconf").OmegaConf.create([[0, 1], [2, 3]])
    assert dg.DisARMTree(tree=tree) == dg.DisARMTree(tree=((0, 1), (2, 3)))


# Compiled by name


COMPILED = ("rloo",)
SLOW = sorted(set(dg.ESTIMATORS) - set(COMPILED))


@pytest.mark.parametrize("name", [*COMPILED, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_an_expectation_by_name_compiles(name):
    estimator = dg.ESTIMATORS[name]()
    if estimator.needs_grad_f and not isinstance(estimator, dg.Pathwise):
        pytest.skip("it differentiates f inside of surrogate")
    if isinstance(getattr(estimator, "coupling", None), dg.Distinct):
        pytest.skip("how many distinct points there are is read")
    logits = logits_for(estimator.latent, requires_grad=True)
    torch._dynamo.reset()
    step = torch.compile(
        lambda x: dg.expectation(f, x, estimator=name).sum(), fullgraph=True, backend="aot_eager", dynamic=False
    )
    step(logits).backward()
    assert logits.grad.isfinite().all()


# Computed again


@pytest.mark.parametrize("stream", [None, 3])
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_draws_the_same_points_again(reentrant, stream):
    """Both phases inside, the default generator: the decoder's gradient is that without the checkpoint."""
    logits, weight = torch.randn(4, 3, 5, requires_grad=True), torch.randn(15, requires_grad=True)

    def step(logits, weight):
        return dg.RLOO()(lambda points: (points.flatten(2) @ weight).square(), logits, stream=stream).sum()

    found = []
    for loss in (step, lambda *inputs: checkpoint(step, *inputs, use_reentrant=reentrant)):
        torch.manual_seed(0)
        value = loss(logits, weight)
        torch.rand(7)
        value.backward()
        found.append((value, logits.grad, weight.grad))
        logits.grad = weight.grad = None
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("stream", [None, 3])
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_generator_under_a_checkpoint_is_refused(reentrant, stream):
    """It is not put back, and would draw other points the second time."""
    logits, generator = torch.zeros(4, 3, 5, requires_grad=True), torch.Generator()
    loss = checkpoint(lambda x: dg.RLOO()(f, x, generator, stream=stream).sum(), logits, use_reentrant=reentrant)
    with pytest.raises(ValueError, match="Leave generator=None"):
        loss.backward()
    dg.RLOO()(f, logits, generator).sum().backward()


# Streams


@pytest.mark.parametrize(("name", "latent"), [one for one in every() if one[0] not in ("exact", "argmax-st")])
def test_streams_of_one_seed_differ_and_are_repeated(name, latent):
    estimator, logits = make(name, latent), torch.zeros((60, 3) if latent == "bernoulli" else (60, 3, 5))

    def draws(stream, **source):
        return [estimator.sample(logits, stream=stream, **source) for _ in range(2)]

    def of_generator(stream):
        return draws(stream, generator=torch.Generator().manual_seed(5))

    def of_default(stream):
        torch.manual_seed(5)
        return draws(stream)

    for source in (of_generator, of_default):
        first, again, other = source(0), source(0), source(1)
        for one, same, different in zip(first, again, other, strict=True):
            assert torch.equal(one.points, same.points)
            assert one.points.shape != different.points.shape or not torch.equal(one.points, different.points)
        assert first[0].points.shape != first[1].points.shape or not torch.equal(first[0].points, first[1].points)


def test_streams_are_as_independent_as_draws():
    """Of 64 streams of one seed, no two agree in more ids than chance: 6 standard deviations of 3,000 equal bits."""
    logits = torch.zeros(3000)
    ids = [
        dg.Reinforce(latent="bernoulli").sample(logits, torch.Generator().manual_seed(0), stream=s) for s in range(64)
    ]
    signs = torch.cat([draw.indices for draw in ids]).double() * 2 - 1
    products = signs @ signs.T - torch.eye(64) * 3000
    assert float(products.abs().max()) < 6 * 3000**0.5


def test_a_stream_leaves_generators_in_step():
    one, other = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    dg.RLOO().sample(torch.zeros(2, 3), one, stream=0)
    dg.RLOO(8).sample(torch.zeros(5, 7, 3), other, stream=1)
    assert torch.equal(one.get_state(), other.get_state())


def test_what_is_no_stream_is_refused():
    with pytest.raises(ValueError, match="stream is an integer, such as the rank"):
        dg.RLOO().sample(torch.zeros(2, 3), stream="0")
    with pytest.raises(ValueError, match=r"torch\.manual_seed\(seed \+ rank\)"):
        torch.func.vmap(lambda x: dg.RLOO()(f, x, stream=0), randomness="different")(torch.zeros(2, 4, 3, 5))
