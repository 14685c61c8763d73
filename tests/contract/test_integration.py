"""Inside other people's machinery: compile, vmap, autocast, no_grad, DDP, mutation-free use."""

import copy
import math
import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from catalogue import compares, drawn_where, every, make, noisy, slow_where, table_function, truth
from rounding import assert_rounding

import discretegrad as dg

# One of each kind: what differs between the others is checked elsewhere.
KINDS = [
    "reinforce-running",
    "rloo-3",
    "tree-balanced",
    "tree-2-pairs",
    "tree-huffman",
    "tree-user-descending",
    "iw-ascending",
    "ars",
    "arsm-all-points",
    "ars-plus-1",
]
KINDS += ["carms-3", "nvil", "local-2", "sum-and-sample-3-2", "unordered-3", "vimco-3", "disarm-bound", "flow"]
PATHS = [
    "straight-through-2",
    "gumbel-soft",
    "gumbel-hard",
    "gumbel-rao",
    "gapped-st",
    "reinmax-cold",
    "reinmax-rao",
    "relaxed-reinmax",
    "imle",
]
BITS = ["rloo-2", "disarm-2-pairs", "arm", "arms-gaussian-4", "exact", "unordered-3", "gumbel-hard", "reinmax", "imle"]
KINDS = [(n, "categorical") for n in [*KINDS, "exact", *PATHS]] + [(n, "bernoulli") for n in BITS]
# Slow to compile, and made of what others compile too (some in a test of their own), but for the quadrature of the
# Gaussian copula.
COMPILED_WITH_OTHERS = [(n, "categorical") for n in ("tree-balanced", "tree-2-pairs", "tree-user-descending", "ars")]
COMPILED_WITH_OTHERS += [
    (n, "categorical") for n in ("reinforce-running", "disarm-bound", "gumbel-soft", "reinmax-rao")
]
COMPILED_WITH_OTHERS += [(n, "bernoulli") for n in ("disarm-2-pairs", "arms-gaussian-4", "unordered-3")]
# At several sizes, and with its derivative traced too, a step takes six times as long to compile: those that are short.
COMPILED_FOR_ANY_SIZE = [("rloo-3", "categorical"), ("straight-through-2", "categorical"), ("arm", "bernoulli")]
SIZES = [(*one, batches) for batches in ((3,), (3, 3, 2)) for one in KINDS]
SLOW_SIZES = [
    (*one, batches)
    for *one, batches in SIZES
    if tuple(one) in COMPILED_WITH_OTHERS or (len(batches) > 1 and tuple(one) not in COMPILED_FOR_ANY_SIZE)
]
# These differentiate f inside of `surrogate`, which goes through neither torch.compile nor torch.func.
OF_F = [(n, "categorical") for n in ("muprop", "double-cv-3", "rodeo-network", "rebar")]
OF_F += [(n, "bernoulli") for n in ("rodeo", "rebar-tied")]


def problem(latent):
    logits = torch.randn((3, 2) if latent == "bernoulli" else (3, 2, 4))
    weight = torch.randn(logits.shape[1:])
    return logits.requires_grad_(), lambda points: (points * weight).flatten(2).sum(-1).square()


@pytest.mark.parametrize(("name", "latent", "batches"), slow_where(SLOW_SIZES, SIZES))
def test_compiles_without_graph_breaks(name, latent, batches, monkeypatch):
    """fullgraph, at one batch size; or forward and backward, at changing ones. The same noise, the same gradient."""
    monkeypatch.setattr("discretegrad.ops.noise.library", lambda dtype: None)  # torch's noise, as where it compiles
    estimator = make(name, latent, 4)
    logits, f = problem(latent)

    def step(x):
        return estimator(f, x).sum()

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager" if len(batches) > 1 else "eager")
    for batch in batches:  # a second size makes torch.compile treat it as a variable
        results = []
        for function in (step, compiled):
            torch.manual_seed(1)
            part = logits.detach()[:batch].clone().requires_grad_()
            loss = function(part)
            results.append((loss.detach(), torch.autograd.grad(loss, part)[0]))
        torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


def test_a_compiled_step_updates_its_running_mean():
    baseline = dg.nn.RunningMean(0.5)
    estimator = dg.Reinforce(baseline=baseline)

    def step(x):
        draw = estimator.sample(x)
        values = draw.points.sum((-1, -2)) * 0 + 2.5
        loss = estimator.surrogate(draw, values).sum()
        baseline.update(draw, values)
        return loss

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        compiled(torch.zeros(3, 2, 4, requires_grad=True))
    assert (float(baseline.weight), float(baseline.mean)) == (0.75, 1.875)


@pytest.mark.parametrize(("name", "latent"), KINDS)
def test_vmap_over_replicates(name, latent):
    """Independent noise in every replicate, each a legal gradient; the mean of an unbiased one is the truth."""
    estimator = make(name, latent, 4)
    logits, f = problem(latent)

    def one(_):
        return torch.func.grad(lambda x: estimator(f, x).sum())(logits.detach())

    replicates = torch.func.vmap(one, randomness="different")(torch.arange(4000))
    assert replicates.shape == (4000, *logits.shape)
    if name == "exact":
        # At another place of a vector the same number may be rounded otherwise.
        assert_rounding(replicates[0], replicates[1], replicates[0].abs().max(), roundings=100)
    else:
        assert not torch.equal(replicates[0].expand_as(replicates), replicates)
    if estimator.unbiased:
        expected = torch.stack([truth(estimator, f_without_points(f), one.detach()) for one in logits])
        error = (replicates.mean(0) - expected).abs()
        # 6 standard errors on 24 coordinates, with the rounding of float32 beside.
        assert (error <= 6 * replicates.std(0) / 4000**0.5 + 1e-5).all()


def f_without_points(f):
    return lambda points: f(points.unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize(("name", "latent"), KINDS + OF_F)
def test_no_grad(name, latent):
    estimator = make(name, latent, 4)
    logits, f = problem(latent)
    with torch.no_grad():
        assert not estimator(f, logits).requires_grad


@pytest.mark.parametrize(("name", "latent"), every())
def test_autocast_leaves_the_arithmetic_alone(name, latent):
    """Under bfloat16 autocast the same values give the same gradient, to the last bit."""
    estimator = make(name, latent, 4)
    if estimator.needs_grad_f or noisy(estimator):
        pytest.skip("f itself rounds, or a network in the control variate does")
    logits, f = problem(latent)

    def gradient(enabled):
        generator = torch.Generator().manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            draw = estimator.sample(logits, generator)
        values = f(draw.points)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = estimator.surrogate(draw, values)
        return torch.autograd.grad(loss.sum(), logits)[0]

    assert torch.equal(gradient(True), gradient(False))


@pytest.mark.parametrize(("one", "masked"), drawn_where(every(), [False, True]))
def test_another_device_is_not_read_and_not_left(one, masked):
    """On the meta device tensors have no entries: to look at one is an error, as it is to mix in a CPU tensor."""
    name, latent = one
    estimator = make(name, latent, 5)
    if compares(estimator):
        pytest.skip("how many distinct points there are must be read")
    for learner in estimator.learners:
        learner.to("meta")
    logits = torch.empty((3, 2) if latent == "bernoulli" else (3, 2, 5), device="meta", requires_grad=True)
    mask = torch.empty(3, 2, dtype=torch.bool, device="meta") if masked else None
    draw = estimator.sample(logits, mask=mask)
    estimator.surrogate(draw, draw.points.flatten(2).sum(-1)).sum().backward()
    assert draw.points.device == draw.indices.device == logits.grad.device == logits.device
    # The negative control: the checks that look, when asked for.
    with pytest.raises(RuntimeError, match="meta tensors"):
        estimator.sample(logits, validate=True)


def test_autocast_of_a_whole_model():
    encoder, decoder = torch.nn.Linear(7, 12), torch.nn.Linear(12, 1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = encoder(torch.randn(5, 7)).unflatten(-1, (3, 4))
        assert logits.dtype == torch.bfloat16
        loss = dg.DisARMTree()(lambda points: decoder(points.flatten(2)).squeeze(-1), logits).mean()
    loss.backward()
    assert encoder.weight.grad.isfinite().all()
    assert encoder.weight.grad.abs().sum() > 0


def test_sampling_and_surrogate_leave_inputs_alone():
    logits, f = problem("categorical")
    before = logits.detach().clone()
    draw = dg.DisARMTree(2).sample(logits)
    values = f(draw.points)
    kept = values.detach().clone()
    dg.DisARMTree(2).surrogate(draw, values).sum().backward()
    assert torch.equal(logits.detach(), before)
    assert torch.equal(values.detach(), kept)


def test_a_black_box_on_ids_never_makes_points():
    logits = torch.randn(5, 3, 4, requires_grad=True)
    draw = dg.DisARMTree().sample(logits)
    table = torch.randn(4)
    dg.DisARMTree().surrogate(draw, table[draw.indices].sum(-1)).sum().backward()
    assert draw._points is None
    assert logits.grad.abs().sum() > 0


def test_baselines_learn_and_cut_the_variance():
    """On f with an offset, both baselines bring REINFORCE's gradient noise down at least 10-fold."""
    table = table_function(2, 3)
    logits = torch.randn(64, 2, 3, dtype=torch.float64, requires_grad=True)

    def gradient_noise(baseline, steps):
        estimator = dg.Reinforce(baseline=baseline)
        parameters = [] if baseline is None else list(baseline.parameters())
        optimizer = torch.optim.Adam(parameters, 0.05) if parameters else None
        noise = 0.0
        for step in range(steps):
            draw = estimator.sample(logits)
            values = table(draw.points[0]).unsqueeze(0) + 30.0
            loss = estimator.surrogate(draw, values).sum()
            (gradient,) = torch.autograd.grad(loss, logits)
            if baseline is not None:
                if optimizer is not None:
                    optimizer.zero_grad()
                    baseline.loss(draw, values).backward()
                    optimizer.step()
                baseline.update(draw, values)
            if step >= steps - 10:
                noise += float(gradient.square().sum())
        return noise

    none = gradient_noise(None, 10)
    learned = dg.nn.LearnedBaseline(torch.nn.Linear(6, 1, dtype=torch.float64))
    assert gradient_noise(dg.nn.RunningMean(0.9), 100) < 0.1 * none
    assert gradient_noise(learned, 1000) < 0.1 * none


class WithLayer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = torch.nn.Linear(5, 12), torch.nn.Linear(12, 5)
        self.latent = dg.nn.DiscreteLatent(dg.NVIL(torch.nn.Linear(12, 1), 2))

    def forward(self, inputs, generator):
        z = self.latent(self.encoder(inputs).unflatten(-1, (3, 4)), generator=generator)
        errors = (self.decoder(z.points.flatten(1)) - z.repeat(inputs)).square().sum(-1)
        return z.surrogate(errors).mean() + z.kl().mean()


def ddp_worker(rank, store, results):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(5, 12))
    torch.manual_seed(10 + rank)
    inputs = torch.randn(4, 5)
    logits = model(inputs).unflatten(-1, (3, 4))
    generator = torch.Generator().manual_seed(rank)
    loss = dg.DisARMTree()(lambda points: points[..., 0].sum(-1).square(), logits, generator).mean()
    loss.backward()
    drawn = []
    for stream in (None, rank):
        torch.manual_seed(0)  # the same on every rank, as launchers do
        drawn.append(dg.RLOO().sample(torch.zeros(4, 3, 4), stream=stream).indices)
    torch.manual_seed(0)
    layered = torch.nn.parallel.DistributedDataParallel(WithLayer())
    layered(inputs, torch.Generator().manual_seed(rank)).backward()
    of_layer = [parameter.grad for parameter in layered.module.parameters()]
    torch.save((inputs, model.module.weight.grad, drawn, of_layer), f"{results}/{rank}.pt")
    dist.destroy_process_group()


def test_distributed_data_parallel_averages_the_gradients(tmp_path):
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mp.spawn(ddp_worker, (str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    (inputs0, grad0, drawn0, of_layer0), (inputs1, grad1, drawn1, of_layer1) = found
    assert torch.equal(grad0, grad1)
    # Ranks of one seed draw the same points, unless each has a stream of its own.
    assert torch.equal(drawn0[0], drawn1[0])
    assert not torch.equal(drawn0[1], drawn1[1])
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 12)
    for rank, inputs in enumerate((inputs0, inputs1)):
        logits = model(inputs).unflatten(-1, (3, 4))
        generator = torch.Generator().manual_seed(rank)
        (dg.DisARMTree()(lambda points: points[..., 0].sum(-1).square(), logits, generator).mean() / 2).backward()
    torch.testing.assert_close(model.weight.grad, grad0)
    # A layer and its learner, each of whose replicas has seen its own values only.
    torch.manual_seed(0)
    replicas = [WithLayer()]
    replicas.append(copy.deepcopy(replicas[0]))
    for rank, (replica, inputs) in enumerate(zip(replicas, (inputs0, inputs1), strict=True)):
        (replica(inputs, torch.Generator().manual_seed(rank)) / 2).backward()
    for one, other, first, second in zip(of_layer0, of_layer1, *(r.parameters() for r in replicas), strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, first.grad + second.grad)


class Catalogued(torch.nn.Module):
    def __init__(self, name, latent):
        super().__init__()
        event = (2,) if latent == "bernoulli" else (2, 4)
        self.encoder = torch.nn.Sequential(torch.nn.Linear(5, math.prod(event)), torch.nn.Unflatten(-1, event))
        self.decoder = torch.nn.Linear(math.prod(event), 5)
        self.latent = dg.nn.DiscreteLatent(make(name, latent, 4))
        self.double()

    def forward(self, inputs, seed):
        z = self.latent(self.encoder(inputs), generator=torch.Generator().manual_seed(seed))
        errors = (self.decoder(z.points.flatten(1)) - z.repeat(inputs)).square().sum(-1)
        return z.surrogate(errors).mean() + z.kl().mean()


def catalogue_worker(rank, store):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    inputs = torch.randn(2, 4, 5, dtype=torch.float64)
    wrong = []
    for name, latent in every():
        model = Catalogued(name, latent)
        model(inputs[0], 2)  # control variates that take their shape from the first logits have it now
        replicas = [copy.deepcopy(model) for _ in range(2)]
        distributed = torch.nn.parallel.DistributedDataParallel(model)
        distributed(inputs[rank], rank).backward()
        for number, replica in enumerate(replicas):
            replica(inputs[number], number).backward()
        for got, one, other in zip(*(each.parameters() for each in (model, *replicas)), strict=True):
            expected = (one.grad + other.grad) / 2  # IMLE's is not that of half the loss
            if not torch.allclose(got.grad, expected, rtol=1e-9, atol=1e-12):
                wrong.append((name, latent))
    dist.destroy_process_group()
    assert not wrong, wrong


@pytest.mark.slow
def test_distributed_data_parallel_averages_the_gradients_of_every_estimator(tmp_path):
    """As the mean of replicas, each of which has seen its own values only; learners among them."""
    mp.spawn(catalogue_worker, (str(tmp_path / "store"),), nprocs=2)
