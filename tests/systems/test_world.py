"""One run on two processes (gloo): the numbers of one process that does the work of both, and an end together.

One pair of processes does all that is looked at here, since starting one takes seconds: it goes through the functions
named `pair_...` in order, and leaves what it found in files.
"""

import contextlib
import functools
import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from test_conf import options
from together import Both, average_step, gradients_of
from torch import nn

import discretegrad as dg
from experiments.data import idx
from experiments.engine import Interrupted, Learning, Run, Settings, Step, Task, World, finite
from experiments.engine.world import joined
from experiments.errors import UserError
from experiments.parts.batches import Shuffled
from experiments.train import build, train

ROOT = Path(__file__).parents[2]
SIZES = ("data=mnist_subset", "device=cpu", "model.variables=3", "model.categories=4", "model.hidden=[16]")
OFTEN = ("run.batch=10", "run.log_every=3", "run.checkpoint_every=5", "run.evaluate_every=6", "run.evaluate_most=20")
SMALL = (*SIZES, *OFTEN, "run.progress=false", "task.bound_samples=2", "run.dir=unused")
ESTIMATORS = ("disarm_tree", "rebar", "relax", "nvil", "reinforce_running_mean")
"""Without learners; with parameters that learn; with statistics, and with both."""
SYSTEMS = options("system")
STEPS = 3
ROWS = 4
TIMES = ("steps_per_second", "seconds")


def configure(*overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", [*SMALL, *overrides])


def configured(name):
    """The VAE with an estimator, or a system in its size to try."""
    if name in ESTIMATORS:
        return configure(f"estimator={name}")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", [f"system={name}", f"+tiny={name}", "device=cpu", "run.dir=unused"])


class Toy(Task):
    """Contrastive, with a discrete code in the middle: each row's own partner among those of all processes."""

    measures = {"bits": "bits", "accuracy": "share"}  # noqa: RUF012
    title = "toy"

    def __init__(self, broken_at=None):
        super().__init__()
        self.left, self.right = nn.Linear(6, 12), nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5))
        self.code = nn.Linear(12, 5, bias=False)
        self.unused, self.broken_at = nn.Linear(2, 2), broken_at
        self.data = torch.randn(30, 2, 6, generator=torch.Generator().manual_seed(5))

    def begin(self, settings, world):
        self.world, self.order = world, Shuffled(len(self.data), settings.batch, settings.seed, world)

    def batch(self, step):
        self.step = step
        return self.data[self.order(step)]

    def groups(self):
        return {"optimizer": list(self.parameters())}

    def right_of(self, batch):
        rows = self.right(batch[:, 1])
        if self.broken_at == "bug" and self.step == 2:
            raise ZeroDivisionError("a bug")
        if self.step == self.broken_at:
            rows = rows * torch.nan
        finite({"rows": rows})  # before the others' rows are waited for
        return rows

    def loss(self, batch, generator, partners, own):
        """Of these rows, whose partners are `partners[own]`."""
        estimator = dg.RLOO(2)
        draw = estimator.sample(self.left(batch[:, 0]).unflatten(1, (3, 4)), generator)
        scores = self.code(draw.points.flatten(-2)) @ partners.T
        values = -scores.log_softmax(-1)[:, torch.arange(len(batch)), own]
        self.drawn = draw.indices
        self.others = torch.rand(3), random.random(), float(np.random.rand())
        return estimator.surrogate(draw, values).mean()

    def forward(self, batch, generator):
        own = torch.arange(len(batch)) + self.world.rank * len(batch)
        loss = self.loss(batch, generator, self.world.gather(self.right_of(batch)), own)
        return Step(loss, {"bits": loss.detach()})

    @torch.no_grad()
    def evaluate(self, most):
        part = self.data[self.world.share(len(self.data))].double()
        total = (part[:, 0] * part[:, 1]).sum()
        return {"accuracy": self.world.mean(total, len(part))}


def toy_run(world, folder="unused", **changes):
    torch.manual_seed(3)
    settings = Settings(folder, 9, ROWS, 7, 2, 4, None, 3, (), None, None, False)
    return Run(
        Learning(settings, Toy(**changes), {"optimizer": functools.partial(torch.optim.AdamW, lr=0.01)}, None, world),
        {},
    )


# What the pair does


def pair_trains(world):
    """Gradients of every step, and the state at the end, of each estimator, each system and the contrastive task."""
    found = {}
    for name in (*ESTIMATORS, *SYSTEMS):
        run = build(configured(name), world)
        found[name] = observed(run)
        if name in ESTIMATORS:
            found[name]["points"] = run.task._drawn[2].indices
        found[name]["evaluated"], found[name]["shared"] = evaluated(run)
    run = toy_run(world)
    found["toy"] = observed(run) | {"points": run.task.drawn, "others": run.task.others}
    found["toy"]["evaluated"] = run.task.evaluate(None)["accuracy"]
    return found


def evaluated(run):
    """What an evaluation finds, and of how many examples this process judged how many."""
    plain, shares = World.share, []

    def share(world, count):
        own = plain(world, count)
        shares.append((own.stop - own.start, count))
        return own

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "share", share)
        return run.task.eval().evaluate(None), shares


def observed(run):
    gradients = []
    for _ in range(STEPS):
        run.train_step()
        gradients.append(gradients_of(run.task))
    return {"gradients": gradients, "state": state_of(run)}


def state_of(run):
    return {name: value.clone() for name, value in run.task.state_dict().items() if isinstance(value, torch.Tensor)}


def pair_resumes(folder, rank, ports):
    """A run to its end; and another that goes on twice, first stopped by a signal that reaches one process alone."""
    config = functools.partial(configure, "estimator=nvil", "run.steps=13")
    written, replace = [], os.replace
    os.replace = lambda old, new: (written.append(str(new)), replace(old, new))
    with at(ports):
        whole = train(config(f"run.dir={folder}/whole"))
    os.replace = replace
    plain, stopped = Run.train_step, None

    def train_step(run, stops):
        if run.step == 7 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(run, stops)

    Run.train_step = train_step
    try:
        with at(ports):
            train(config(f"run.dir={folder}/parts"))
    except Interrupted as stop:
        stopped = stop.step, stop.signum
    Run.train_step = plain
    with at(ports):
        resumed = train(config(f"run.dir={folder}/parts", "resume=true"))
    runs = {"whole": whole, "resumed": resumed}
    rows = {name: [{k: v for k, v in row.items() if k not in TIMES} for row in run.record.rows]
            for name, run in runs.items()}  # fmt: skip
    return {
        "states": {name: state_of(run) for name, run in runs.items()},
        "rows": rows,
        "results": {name: run.result["test_bound"] for name, run in runs.items()},
        "stopped": stopped,
        "written": written,
    }


def pair_refuses(folder, rank, ports):
    """What each process ends with, where only process 1 has a reason."""
    wrong = {
        "configuration": lambda: train(configure(f"run.dir={folder}/refused", *(["estimator=disarm"] if rank else []))),
        "rate": lambda: train(configure(f"run.dir={folder}/refused", *(["optimizer.lr=-1"] if rank else []))),
        "resume": lambda: train(configure(f"run.dir={folder}/refused", *(["resume=maybe"] if rank else []))),
        "not finite": lambda: train_toy(f"{folder}/broken", broken_at=2 if rank else None),
        "bug": lambda: train_toy(f"{folder}/bug", **({"broken_at": "bug"} if rank else {})),
    }
    return {name: ended(call, ports) for name, call in wrong.items()}


def train_toy(folder, **changes):
    with joined("cpu") as world:
        run = toy_run(world, folder, **changes)
        run.start(False, {})
        run.train()


def ended(call, ports):
    try:
        with at(ports):
            call()
    except (Exception, SystemExit) as error:
        return type(error).__name__, str(error)
    return "nothing", ""


def pair_dies(folder, rank, ports):
    """Process 1 is killed at step 7, two after a checkpoint."""
    plain = Run.train_step

    def train_step(run, stops):
        if run.step == 7 and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(run, stops)

    Run.train_step = train_step
    return ended(lambda: train(configure("run.steps=13", f"run.dir={folder}/killed")), ports)


@contextlib.contextmanager
def at(ports):
    """Join at an address that nothing has used."""
    os.environ["MASTER_PORT"] = str(ports.pop())
    yield


def pair(rank, folder, ports):
    os.chdir(folder)
    idx.read_idx = functools.cache(idx.read_idx)
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    found = {}
    with at(ports), joined("cpu") as world:
        found["trains"] = pair_trains(world)
    found["resumes"] = pair_resumes(folder, rank, ports)
    found["refuses"] = pair_refuses(folder, rank, ports)
    torch.save(found, f"{folder}/{rank}.pt")
    torch.save(pair_dies(folder, rank, ports), f"{folder}/dies.pt")


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module", autouse=True)
def _images_are_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idx, "read_idx", functools.cache(idx.read_idx))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, ports = tmp_path_factory.mktemp("pair"), free_ports(12)
    spawning = multiprocessing.get_context("spawn")
    processes = [spawning.Process(target=pair, args=(rank, folder, list(ports))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(900)
        process.kill()  # where it hangs
    assert [process.exitcode for process in processes] == [0, -signal.SIGKILL]
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


# What must come of it


def expected_of(make):
    """Of one process that runs both slices with both noises."""
    both = Both()
    runs = both(make)
    gradients = [average_step(both, runs, step) for step in range(STEPS)]
    evaluated = both(lambda world: runs[world.rank].task.eval().evaluate(None))
    assert evaluated[0] == evaluated[1]
    return {"gradients": gradients, "state": state_of(runs[0]), "evaluated": evaluated[0]}


def assert_same(found, expected):
    for one, other in zip(found["gradients"], expected["gradients"], strict=True):
        assert one.keys() == other.keys()
        for name, gradient in other.items():
            if gradient is None:
                assert one[name] is None, name
            else:
                torch.testing.assert_close(one[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    for name, value in expected["state"].items():
        torch.testing.assert_close(found["state"][name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", [*ESTIMATORS, *SYSTEMS])
def test_two_processes_are_one_that_runs_both_slices_with_both_noises(name, found, tmp_path, monkeypatch):
    """Gradients and states of some steps, and what an evaluation finds."""
    monkeypatch.chdir(tmp_path)  # where tokenizers are kept
    expected = expected_of(functools.partial(build, configured(name)))
    assert_same(found[0]["trains"][name], expected)
    assert found[0]["trains"][name]["evaluated"] == pytest.approx(expected["evaluated"], rel=1e-3)


def test_negatives_from_all_processes_have_their_gradient(found):
    expected = expected_of(toy_run)
    assert expected["gradients"][0]["unused.weight"] is None
    assert_same(found[0]["trains"]["toy"], expected)


def test_parameters_and_statistics_are_equal_in_all_processes(found):
    for name in (*ESTIMATORS, *SYSTEMS, "toy"):
        mine, others = (one["trains"][name]["state"] for one in found)
        assert mine.keys() == others.keys()
        for key, value in mine.items():
            assert torch.equal(value, others[key]), (name, key)
    for run in ("whole", "resumed"):
        mine, others = (one["resumes"]["states"][run] for one in found)
        assert all(torch.equal(value, others[key]) for key, value in mine.items())


class OneOfTwo(World):
    """A process whose other one looked up rows 1 and 3 of a table, and has no gradient of what is dense."""

    def sum(self, tensors):
        return list(tensors)

    def every(self, own):
        return [own, (torch.tensor([[1, 3]]), torch.ones(2, 2))]


@pytest.mark.parametrize("looked_up", [[], [0, 3, 3]])
def test_rows_of_a_sparse_table_are_summed_even_where_a_process_looked_up_none(looked_up):
    task = nn.ModuleList([nn.Embedding(5, 2, sparse=True), nn.Linear(2, 1)])
    loss = task[1](torch.ones(1, 2)).sum()
    if looked_up:
        loss = loss + task[0](torch.tensor(looked_up)).sum()
    loss.backward()
    assert not Learning._average(SimpleNamespace(world=OneOfTwo(0, 2), task=task), False)
    gradient = task[0].weight.grad
    counts = torch.bincount(torch.tensor([1, 3, *looked_up]), minlength=5)
    assert gradient.is_sparse and gradient.coalesce().indices().tolist() == [counts.nonzero().squeeze(1).tolist()]
    assert torch.equal(gradient.to_dense(), counts[:, None].float().expand(5, 2))
    assert torch.equal(task[1].weight.grad, torch.ones(1, 2))


def test_noise_does_not_repeat_between_processes(found):
    for name in (*ESTIMATORS, "toy"):
        points, others = (one["trains"][name]["points"] for one in found)
        assert not torch.equal(points, others), name
    mine, theirs = (one["trains"]["toy"]["others"] for one in found)
    assert not torch.equal(mine[0], theirs[0])
    assert mine[1:] != theirs[1:]
    assert mine[1] != theirs[1] and mine[2] != theirs[2]
    draws = [torch.rand(4, generator=World(rank, 3).apart(torch.Generator().manual_seed(0))) for rank in range(3)]
    assert torch.equal(draws[0], torch.rand(4, generator=torch.Generator().manual_seed(0)))
    assert len({tuple(draw.tolist()) for draw in draws}) == 3


@pytest.mark.parametrize("processes", [2, 3])
def test_the_slices_of_a_step_are_the_step_of_one_process(processes):
    one = Shuffled(31, 2 * processes, 0, World())
    parts = [Shuffled(31, 2, 0, World(rank, processes)) for rank in range(processes)]
    for step in range(40):
        slices = [part(step).tolist() for part in parts]
        together = [example for part in slices for example in part]
        assert len(set(together)) == 2 * processes
        assert together == one(step).tolist()
    with pytest.raises(UserError, match=f"run.batch=16 in each of {processes} processes is more than the 31 training"):
        Shuffled(31, 16, 0, World(0, processes))


def test_a_sharded_evaluation_is_the_whole_one(found):
    expected = toy_run(World()).task.evaluate(None)["accuracy"]
    for one in found:
        assert one["trains"]["toy"]["evaluated"] == pytest.approx(expected, rel=1e-12)
    for name in (*ESTIMATORS, *SYSTEMS):
        mine, theirs = (one["trains"][name]["evaluated"] for one in found)
        assert mine == theirs
        for one in found:
            assert any(count > 1 and own <= (count + 1) // 2 for own, count in one["trains"][name]["shared"]), name


def test_shares_are_all_examples_once():
    for count in (0, 1, 7, 12):
        shares = [range(count)[World(rank, 5).share(count)] for rank in range(5)]
        assert [example for share in shares for example in share] == list(range(count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_writes(found):
    assert found[1]["resumes"]["written"] == []
    names = {Path(path).name for path in found[0]["resumes"]["written"]}
    assert names == {"checkpoint.pt", "metrics.csv", "config.yaml", "environment.json", "result.json"}


def test_a_signal_to_one_process_stops_all_at_the_same_step(found):
    assert [one["resumes"]["stopped"] for one in found] == [(8, signal.SIGTERM)] * 2


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(found):
    for one in found:
        states, rows, results = (one["resumes"][key] for key in ("states", "rows", "results"))
        assert all(torch.equal(value, states["resumed"][name]) for name, value in states["whole"].items())
        assert rows["whole"] == rows["resumed"]
        assert results["whole"] == results["resumed"]
        assert [row["step"] for row in rows["whole"]] == [3, 6, 9, 12, 13]
        assert rows["whole"] == found[0]["resumes"]["rows"]["whole"]


def test_another_number_of_processes_is_refused(folder, found):
    with pytest.raises(UserError, match="holds a run with processes=2 instead of 1; give the same to resume it"):
        train(configure("estimator=nvil", "run.steps=13", f"run.dir={folder}/parts", "resume=true"))


@pytest.mark.parametrize(
    ("where", "kind", "sentence"),
    [
        ("configuration", "UserError", "DisARM is for bernoulli latents"),
        ("rate", "UserError", "optimizer.lr must be a number"),
        ("resume", "UserError", "resume is true, false or auto"),
        ("not finite", "UserError", "rows is not finite at step 3; .* holds step 0"),
        ("bug", "ZeroDivisionError", "a bug"),
    ],
)
def test_what_one_process_refuses_ends_all_and_is_said_once(where, kind, sentence, folder, found):
    silent, spoken = (one["refuses"][where] for one in found)
    assert silent == ("SystemExit", "2")
    assert spoken[0] == kind
    assert re.match(sentence, spoken[1])
    assert not (folder / "refused").exists()


def test_a_killed_process_ends_all_and_the_last_checkpoint_is_whole(folder, found):
    kind, sentence = torch.load(folder / "dies.pt")
    assert kind == "UserError"
    assert re.match("another process of this run has ended, .* resume=auto", sentence)
    assert torch.load(folder / "killed" / "checkpoint.pt", weights_only=True)["step"] == 5


# The command itself: torchrun, whose own messages come on top


class Command:
    """The command on two processes, which writes to `folder`."""

    def __init__(self, folder, *arguments):
        launcher = (
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node=2",
            f"--master-port={free_ports(1)[0]}",
        )
        command = (*launcher, "-m", "experiments.train", *SMALL, f"run.dir={folder}", "resume=auto", *arguments)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.folder = folder
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def trains(self):
        """Wait until it has written a row more."""
        metrics, deadline = self.folder / "metrics.csv", time.monotonic() + 300
        while not metrics.exists() or metrics.read_text().count("\n") < 2:
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def ends(self):
        """Exit code, and what was said."""
        said = self.process.communicate(timeout=300)[1]
        return self.process.returncode, said

    def step(self):
        return torch.load(self.folder / "checkpoint.pt", weights_only=True)["step"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_torchrun_leaves_a_run_that_goes_on(number, tmp_path):
    command = Command(tmp_path / "run", "run.steps=1000000")
    command.trains()
    command.process.send_signal(number)
    code, said = command.ends()
    step = command.step()
    assert code != 0
    assert said.count(f"stopped at step {step}; go on with") == 1
    assert said.count("torchrun --nproc-per-node=2 -m experiments.train") == 1
    code, said = (again := Command(tmp_path / "run", f"run.steps={step + 2}")).ends()
    assert code == 0, said
    assert again.step() == step + 2


@pytest.mark.slow
def test_a_killed_process_of_torchrun_s_ends_the_others_with_one_sentence(tmp_path):
    command = Command(tmp_path / "run", "run.steps=1000000")
    command.trains()
    children = subprocess.run(
        ("ps", "-o", "pid=", "--ppid", str(command.process.pid)), capture_output=True, text=True, check=True
    ).stdout.split()
    workers = [pid for pid in children if b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
    os.kill(int(workers[0]), signal.SIGKILL)
    code, said = command.ends()
    assert code != 0
    assert said.count("another process of this run has ended") == 1
    assert "stopped at step" not in said
    step = command.step()
    code, said = (again := Command(tmp_path / "run", f"run.steps={step + 2}")).ends()
    assert code == 0, said
    assert again.step() == step + 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "sentence"), [("disarm", "use model=bernoulli"), ("dizarm", "Could not find 'estimator/dizarm'")]
)
def test_a_refusal_of_torchrun_s_processes_is_said_once(estimator, sentence, tmp_path):
    code, said = Command(tmp_path / "run", f"estimator={estimator}").ends()
    assert code != 0
    assert said.count(sentence) == 1
    assert not (tmp_path / "run").exists()
