"""The rows: every estimator of the library, in sensible variants. A new one gets its rows here, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

import discretegrad as dg
from experiments.studies.problems import Instance
from experiments.studies.table.fit import least_squares, train


class Variant(NamedTuple):
    """One row."""

    label: str
    latent: str
    build: Callable[[Instance], dg.Estimator]
    """For a problem, since what learns inside an estimator is made and fitted for it."""
    trained: bool = False
    """Whether that takes steps of an optimiser."""


PLAIN: list[tuple[str, dict[str, Any]]] = [
    ("reinforce", {}),
    ("reinforce", {"num_samples": 4}),
    ("rloo", {"num_samples": 2}),
    ("rloo", {"num_samples": 4}),
    ("var_grad", {"num_samples": 2}),
    ("disarm", {}),
    ("disarm", {"num_pairs": 2}),
    ("disarm", {"num_pairs": 2, "alpha": 1.0}),
    ("disarm_iw", {}),
    ("disarm_iw", {"order": "descending"}),
    ("disarm_sb", {}),
    ("disarm_tree", {}),
    ("disarm_tree", {"tree": "huffman"}),
    ("disarm_tree", {"num_pairs": 2}),
    ("disarm_tree", {"num_pairs": 2, "alpha": 1.0}),
    ("arm", {}),
    ("arms", {"num_samples": 2}),
    ("arms", {"num_samples": 4}),
    ("arms", {"num_samples": 4, "copula": "gaussian"}),
    ("carms", {"num_samples": 2}),
    ("carms", {"num_samples": 4}),
    ("carms", {"num_samples": 4, "copula": "gaussian"}),
    ("ars", {}),
    ("ars", {"distinct": True}),
    ("ars_plus", {}),
    ("arsm", {}),
    ("arsm_plus", {}),
    ("flow", {}),
    ("flow", {"coupling": dg.NearlyDistinct(2)}),
    ("flow", {"coupling": dg.Independent(2)}),
    ("flow", {"coupling": dg.Tree()}),
    ("muprop", {}),
    ("double_cv", {}),
    ("rodeo", {}),
    ("rebar", {}),
    ("rebar", {"num_samples": 2, "tied": True}),
    ("local_expectation", {}),
    ("local_expectation", {"num_variables": 1}),
    ("sum_and_sample", {}),
    ("unordered_set", {"k": 2}),
    ("unordered_set", {"k": 4}),
    ("exact", {}),
    ("straight_through", {}),
    ("straight_through", {"temperature": 0.5}),
    ("argmax_st", {}),
    ("gumbel_softmax", {"temperature": 0.5}),
    ("gumbel_softmax", {"temperature": 0.5, "hard": True}),
    ("gumbel_rao", {"num_rao": 10, "temperature": 0.5}),
    ("gapped_st", {}),
    ("reinmax", {}),
    ("reinmax_rao", {"num_rao": 10, "temperature": 1.0}),
    ("relaxed_reinmax", {"num_rao": 10, "temperature": 0.5}),
    ("imle", {}),
    ("vimco", {"baseline": None}),
    ("vimco", {}),
    ("disarm_bound", {}),
]
"""Names in `discretegrad.ESTIMATORS`, and arguments."""


def network(problem: Instance, inputs: int | None = None, outputs: int = 1) -> nn.Module:
    """A small one, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs = problem.logits.numel() if inputs is None else inputs
        return nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, outputs)).to(problem.logits)


def quadratic(problem: Instance) -> dg.nn.QuadraticControlVariate:
    """Of rank 4, always with the same start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return dg.nn.QuadraticControlVariate(problem.logits.shape, rank=4)


FITTED: list[tuple[str, Callable[[Instance], dg.Estimator]]] = [
    ("NVIL(network)", lambda p: train(dg.NVIL(network(p), latent=p.latent), p)),
    ("NVIL(network, normalise=False)", lambda p: train(dg.NVIL(network(p), 1, False, p.latent), p)),
    ("RLOO(control_variate=Linear)", lambda p: dg.RLOO(2, p.latent, least_squares(p))),
    ("Flow(control_variate=Linear)", lambda p: dg.Flow(None, least_squares(p), latent=p.latent)),
    ("Reinforce(baseline=Quadratic)", lambda p: train(dg.Reinforce(1, quadratic(p), p.latent), p)),
    ("DoubleCV(learn=True)", lambda p: train(dg.DoubleCV(learn=True, latent=p.latent), p)),
    ("RODEO(network=network)", lambda p: train(dg.RODEO(2, network(p, 3, 2), p.latent), p)),
    ("REBAR(learn=True)", lambda p: train(dg.REBAR(learn=True, latent=p.latent), p)),
    ("RELAX(network)", lambda p: train(dg.RELAX(network(p), latent=p.latent), p)),
    ("RELAX(network, scale=None)", lambda p: train(dg.RELAX(network(p), scale=None, latent=p.latent), p)),
]
"""Those that learn: from a fixed seed, for each problem."""

PLACES = {"NVIL": "VarGrad", "RLOO": "VarGrad", "Flow": "Flow", "Reinforce": "RODEO", "DoubleCV": "RODEO"}
"""The class behind whose plain rows the fitted ones of another come."""


def variants() -> list[Variant]:
    """All rows, by family; first the categorical ones, and those of a bound last in each half."""
    rows = list(_plain())
    for label, build in FITTED:
        kind = label.split("(")[0]
        behind = PLACES.get(kind, "REBAR" if kind == "RELAX" else kind)
        for latent in dg.latent.LATENTS:
            last = max(i for i, row in enumerate(rows) if row.label.split("(")[0] in (kind, behind))
            rows.insert(last + 1, Variant(label, latent, build, trained="Linear" not in label))
    return sorted(rows, key=lambda row: row.latent != "categorical")


def _plain() -> Iterator[Variant]:
    for name, arguments in PLAIN:
        kind = dg.ESTIMATORS[name]
        spelled = ", ".join(f"{key}={brief(value)}" for key, value in arguments.items())
        label = f"{getattr(kind, '__name__', name)}({spelled})"
        if "latent" in inspect.signature(kind).parameters:
            for latent in dg.latent.LATENTS:
                if not (latent == "bernoulli" and isinstance(arguments.get("coupling"), dg.Tree)):  # the same as Flow()
                    yield Variant(label, latent, _builder(kind, {**arguments, "latent": latent}))
        else:
            yield Variant(label, kind(**arguments).latent, _builder(kind, arguments))


def _builder(kind: Callable[..., dg.Estimator], arguments: dict[str, Any]) -> Callable[[Instance], dg.Estimator]:
    return lambda problem: kind(**arguments)


def brief(value: Any) -> str:
    """A representation without the fields that have their defaults."""
    if not dataclasses.is_dataclass(value):
        return repr(value)
    fields = [(f.name, getattr(value, f.name), f.default) for f in dataclasses.fields(value) if f.repr]
    return f"{type(value).__name__}({', '.join(f'{n}={v!r}' for n, v, default in fields if v != default)})"
