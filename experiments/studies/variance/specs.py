"""Estimators as they are written in a report: `RLOO(4)`, `Flow(NearlyDistinct(2))`."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import discretegrad as dg
from experiments.errors import UserError


def estimator(spec: str, latent: str) -> dg.Estimator:
    """The estimator that a call of a public name of discretegrad spells, for latents of that kind.

    Only names, calls and literals are understood; nothing is evaluated.

    Raises:
        UserError: where it is no estimator, or not one for these latents.
    """
    try:
        built = _value(ast.parse(spec, mode="eval").body, latent)
    except SyntaxError as error:
        raise UserError(f"{spec!r} is no estimator; write a call such as RLOO(4).") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{spec!r} cannot be made: {error}") from error
    if not isinstance(built, dg.Estimator):
        raise UserError(f"{spec!r} is no estimator; write a call such as RLOO(4).")
    if built.of_bound:
        raise UserError(f"{spec} differentiates a multi-sample bound and not E f; leave it out.")
    if built.latent != latent:
        raise UserError(f"{spec} is for {built.latent} latents, but the problem's are {latent}; leave it out.")
    return built


def _value(node: ast.expr, latent: str) -> Any:
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    kind = getattr(dg, name, None)
    if not inspect.isclass(kind):
        raise UserError(f"discretegrad has nothing called {name}; its estimators are {', '.join(_names())}.")
    arguments = [_value(argument, latent) for argument in node.args]
    options: dict[str, Any] = {str(word.arg): _value(word.value, latent) for word in node.keywords}
    if issubclass(kind, dg.Estimator) and "latent" in inspect.signature(kind).parameters:
        options.setdefault("latent", latent)
    return kind(*arguments, **options)


def _names() -> list[str]:
    return sorted(kind.__name__ for kind in dg.ESTIMATORS.values() if inspect.isclass(kind))
