"""Refusals: one clear sentence about what is wrong and what to do, before any work is done.

Checks of shapes and types are always made. Checks that must look at the data would make a GPU wait for the CPU,
so they run on CPU tensors, and elsewhere only when asked for (`validate=True`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, OneHotCategorical

from discretegrad.latent import LATENTS, Latent

MOST_TERMS = 2**32
"""Of the sums that weights are: some ten minutes."""
MOST_OF_COPULA = 4096
"""Categories: where they are equally probable, rounding is then about 1e-3 of the rarest pair's probability."""
MOST_NODES = 2**28
"""Times their number, of trees that every variable has its own of: some twenty seconds."""


def named_latent(name: str) -> Latent:
    """The latent of that name."""
    if name not in LATENTS:
        raise ValueError(f"latent is one of {', '.join(map(repr, LATENTS))}, not {name!r}.")
    return LATENTS[name]


def count(count: object, name: str) -> None:
    """Refuse a count that is not an integer of at least 1."""
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"{name} must be an integer of at least 1, not {count!r}.")


def positive(number: float, name: str) -> None:
    """Refuse what is not a positive number."""
    if not number > 0:
        raise ValueError(f"{name} must be positive, not {number!r}.")


def temperature(number: Any, learned: bool = True) -> None:
    """Refuse what is no positive number or tensor of them; and unless it may be `learned`, what has a gradient."""
    if not isinstance(number, Tensor):
        if not hasattr(number, "__float__") or not number > 0:
            raise ValueError(f"temperature must be positive, a number or a tensor of numbers, not {number!r}.")
        return
    if not number.is_floating_point():
        raise TypeError(f"a temperature that is a tensor must be of a floating-point dtype, not {number.dtype}.")
    if number.requires_grad and not learned:
        raise ValueError(
            "E f does not depend on this temperature, so it has no gradient and cannot be learned here; give "
            "temperature.detach(), or use GumbelSoftmax or REBAR(learn=True), which learn theirs."
        )
    if looks_at_data(number, None) and _any(~(number > 0)):
        raise ValueError("temperature must be positive, but the tensor has entries that are not.")


def temperature_of_variables(number: float | Tensor, variables: torch.Size) -> None:
    """Refuse a temperature that is positive no more, or does not belong to the logits."""
    if isinstance(number, Tensor):
        temperature(number)
        if not _broadcasts(number.shape, variables):
            raise ValueError(
                f"temperature is one number or one a variable: a tensor that broadcasts to the variables' shape "
                f"{tuple(variables)} (the logits' without the categories), not of shape {_shape(number)}."
            )


def decay(decay: float) -> None:
    """Refuse what is no decay of a moving average."""
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be in [0, 1), not {decay!r}.")


def share(alpha: Any) -> Any:
    """Refuse what is no share of the terms within pairs."""
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool) and math.isfinite(alpha)
    if alpha is not None and not hasattr(alpha, "share") and not number:
        raise ValueError(
            "alpha is a number (1 averages the pairs), None for 1 / (2P - 1), or dg.nn.EstimatedShare(), not "
            f"{alpha!r}."
        )
    return alpha


def share_of_uniform(share: object) -> None:
    """Refuse what is no share of a mixture."""
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share < 1:
        raise ValueError(f"share is the part of the uniform law in the mixture, a number in [0, 1), not {share!r}.")


def connects(connected: Tensor, name: str) -> None:
    """Refuse a coupling under which no weights are unbiased."""
    if _any(~connected):
        raise ValueError(
            f"the pairs of categories that {name} can draw do not connect all possible categories of a variable, so no "
            "weights of differences are unbiased for these logits; use NearlyDistinct() or Independent()."
        )


def event_dims(event_dims: object, name: str = "event_dims") -> None:
    """Refuse what is no number of dimensions."""
    if not isinstance(event_dims, int) or isinstance(event_dims, bool) or event_dims < 0:
        raise ValueError(f"{name} is a number of dimensions, 0 or more, not {event_dims!r}.")


def has_event_dims(variables: Sequence[int], event_dims: int, name: str) -> None:
    """Refuse logits with fewer dimensions of variables than are drawn jointly."""
    if event_dims > len(variables):
        raise ValueError(
            f"{name}(event_dims={event_dims}) needs logits with at least that many dimensions of variables, but they "
            f"have {len(variables)}; use event_dims={len(variables)} or less."
        )


def two_categories(categories: int, name: str) -> None:
    """Refuse more or fewer categories than a bit has."""
    if categories != 2:
        raise ValueError(
            f"{name} draws bits, and the logits have {categories} categories; use latent='bernoulli', or DisARMTree "
            "for categories."
        )


def reference(reference: object) -> None:
    """Refuse what names no reference category."""
    known = reference in ("all", "random")
    if isinstance(reference, bool) or not (known or (isinstance(reference, int) and reference >= 0)):
        raise ValueError(f"reference is a category id of 0 or more, or none for a random one, not {reference!r}.")


def reference_exists(reference: int, categories: int) -> None:
    """Refuse a reference that is no category."""
    if reference >= categories:
        raise ValueError(
            f"the reference category is {reference}, but the logits have categories 0..{categories - 1} only; use one "
            "of them, or none for a random one."
        )


def enumerable_swaps(categories: int, reference: object) -> None:
    """Refuse to enumerate Dirichlet noise that has more than one dimension."""
    if categories != 2 or reference == "random":
        raise ValueError(
            "the noise of swaps is continuous; it can be enumerated for two categories and a reference that is not "
            "random, otherwise estimate the moments from many draws."
        )


def noise_unknown(coupling: object) -> ValueError:
    """What to raise for ids without the noise that they were made from."""
    name = type(coupling).__name__
    return ValueError(
        f"{name} needs the noise that its points were made from, which ids do not tell; make draws with the "
        "estimator's own `sample`."
    )


def looks_at_data(tensor: Tensor, validate: bool | None) -> bool:
    """Whether checks that read `tensor`'s entries should run."""
    if torch.compiler.is_compiling():
        return False
    return tensor.device.type == "cpu" if validate is None else validate


def logits_of(given: Tensor | Distribution, latent: Latent) -> Tensor:
    """The logits of a distribution where one was given; refuse one that is not over such latents.

    `torch.distributions.Independent` only says which variables share a value, which the values' shape says too.
    """
    if not isinstance(given, Distribution):
        return given
    distribution: Any = given
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    wanted = (Categorical, OneHotCategorical) if latent.rank else (Bernoulli,)
    if not isinstance(distribution, wanted):
        raise TypeError(
            f"{type(distribution).__name__} has no logits of {latent.name} latents; give "
            f"{' or '.join(kind.__name__ for kind in wanted)}, or choose another estimator or its latent=."
        )
    distribution = getattr(distribution, "_categorical", distribution)
    # A distribution that was given probabilities has no logits before it is asked for them.
    return distribution.logits if "logits" in vars(distribution) else logits_of_probs(distribution.probs, latent)


def logits_of_probs(probs: Tensor, latent: Latent) -> Tensor:
    """Logits with those probabilities, infinite where one is 0 or 1, and then without gradient.

    torch's own cut off at the rounding of 1 instead, which would allow what is forbidden.
    """
    possible = probs > 0
    log_probs = torch.where(possible, torch.where(possible, probs, 1.0).log(), -torch.inf)
    if latent.rank:
        return log_probs
    uncertain = probs < 1
    return torch.where(uncertain, log_probs - torch.where(uncertain, -probs, 0.0).log1p(), torch.inf)


def categories_last(logits: Tensor, latent: Latent, dim: int) -> Tensor:
    """The logits with the categories, which are in `dim`, at the end; refuse a dimension that they have not."""
    if not latent.rank or not isinstance(logits, Tensor) or dim in (-1, logits.ndim - 1):
        return logits
    if not isinstance(dim, int) or not -logits.ndim <= dim < logits.ndim:
        raise ValueError(f"the categories are in dim={dim!r}, which logits of shape {_shape(logits)} do not have.")
    return logits.movedim(dim, -1)


def has_batch_dims(variables: Sequence[int], batch_dims: int) -> None:
    """Refuse logits with fewer dimensions of variables than are batch."""
    if batch_dims > len(variables):
        raise ValueError(
            f"logits of {tuple(variables)} variables have no {batch_dims} batch dimensions; give DiscreteLatent the "
            f"number that they have, batch_dims={len(variables)} or less."
        )


def of_examples(tensor: Tensor, batch: int) -> None:
    """Refuse what has not an entry for every example."""
    if tensor.ndim == 0 or tensor.shape[0] != batch:
        raise ValueError(
            f"z.repeat takes what has an entry for each of {batch} examples first, not shape {_shape(tensor)}."
        )


def folded(tensor: Tensor, points: int, batch: int) -> None:
    """Refuse what has not an entry for every point of every example."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"values must be a floating-point tensor of f at the points, not {type(tensor).__name__}.")
    if tensor.ndim == 0 or tensor.shape[0] != points * batch:
        raise ValueError(
            f"the first dimension must have an entry for each of {points} points of {batch} examples, {points * batch} "
            f"in all, as z.points has; got shape {_shape(tensor)}. Do not average over the batch before the surrogate."
        )


def logits(logits: Tensor, latent: Latent, mask: Tensor | None, validate: bool | None) -> None:
    """Refuse what no variable can have as its logits."""
    form_of_logits(logits, latent, mask)
    probabilities(logits, latent, mask, validate)


def form_of_logits(logits: Tensor, latent: Latent, mask: Tensor | None) -> None:
    """Refuse what has not the shape or the type of logits."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        found = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"logits must be a floating-point tensor, not {found}.")
    if latent.rank == 1 and (logits.ndim == 0 or logits.shape[-1] == 0):
        raise ValueError(
            f"categorical logits are [*batch, *event, C] with C >= 1, but these have shape {_shape(logits)}; for "
            "binary variables with one logit each use latent='bernoulli'."
        )
    if mask is not None:
        takes_part(mask, logits.shape[: logits.ndim - latent.rank], " (the logits' shape without the categories)")


def prior(prior: Tensor, logits: Tensor) -> None:
    """Refuse logits of a prior that do not belong to those of q."""
    if not isinstance(prior, Tensor) or not prior.is_floating_point():
        found = prior.dtype if isinstance(prior, Tensor) else type(prior).__name__
        raise TypeError(f"prior must be a floating-point tensor of logits, or None for uniform, not {found}.")
    if not _broadcasts(prior.shape, logits.shape):
        raise ValueError(
            f"prior must be logits that broadcast to those of q, of shape {_shape(logits)}; they have shape "
            f"{_shape(prior)}."
        )


def probabilities(logits: Tensor, latent: Latent, mask: Tensor | None, validate: bool | None) -> None:
    """Refuse logits of which a variable has no probabilities."""
    if looks_at_data(logits, validate):
        used = logits.detach()

        def of_variables(numbers: Tensor) -> Tensor:
            return numbers if mask is None else torch.where(mask, numbers, 0.0)

        total = used.sum() if mask is None else of_variables(used.sum(-1) if latent.rank else used).sum()
        if _finite(total):  # the cheapest look at all entries, and nearly always the last
            return
        largest = of_variables(used.amax(-1) if latent.rank else used)  # NaN if any entry is
        if _any(largest.isnan()):
            raise ValueError("logits hold NaN; look for a division by zero or a diverged network before this call.")
        if latent.rank and _any(largest == torch.inf):
            raise ValueError("logits hold +inf; to force a category, set the logits of all others to -inf.")
        if latent.rank and _any(largest == -torch.inf):
            raise ValueError("a variable has all its categories forbidden (logits -inf); leave it one, or mask it.")


def indices(
    indices: Tensor, variables: torch.Size, categories: int, mask: Tensor | None, validate: bool | None
) -> None:
    """Refuse ids that do not belong to the logits; where a mask is off they may be anything."""
    if not isinstance(indices, Tensor) or indices.dtype != torch.int64:
        found = indices.dtype if isinstance(indices, Tensor) else type(indices).__name__
        raise TypeError(f"indices must be an int64 tensor of category ids, not {found}.")
    if indices.ndim == 0 or indices.shape[1:] != variables:
        own = f" {OWN_LOGITS}" if indices.shape == variables else ""
        raise ValueError(
            f"indices must be [S, {', '.join(map(str, variables))}]: the number of points, then the logits' "
            f"variables; they have shape {_shape(indices)}.{own}"
        )
    ids_in_range(indices, categories, mask, validate)


OWN_LOGITS = (
    "Where every point has logits of its own, as where they depend on the ids before, the points are a batch dimension "
    "and S is 1: functional.reinforce(logits[P, K, T, V], ids[1, P, K, T], values[1, P, K], BatchLeaveOneOut(1), "
    "mask=...)."
)


def several_points(points: int) -> None:
    """Refuse leave-one-out over a single point."""
    if points < 2:
        raise ValueError(
            f"leave-one-out over the points needs at least 2, but indices [S, *variables] hold {points}. {OWN_LOGITS}"
        )


def ids_in_range(ids: Tensor, categories: int, mask: Tensor | None = None, validate: bool | None = None) -> None:
    """Refuse ids of categories that are not there; where a mask is off they may be anything."""
    if not looks_at_data(ids, validate):
        return
    wrong = (ids < 0) | (ids >= categories)
    if _any(wrong if mask is None else wrong & mask):
        raise ValueError(f"indices must lie in 0..{categories - 1}, the categories that there are.")


def ids_or_one_hots(points: Tensor, variables: tuple[int, ...], categories: int) -> None:
    """Refuse what is neither ids nor one-hots of so many variables and categories."""
    if not isinstance(points, Tensor) or not (points.is_floating_point() or points.dtype == torch.int64):
        found = points.dtype if isinstance(points, Tensor) else type(points).__name__
        raise TypeError(f"points are int64 ids, or one-hots of a floating-point dtype, not {found}.")
    event = (*variables, categories) if points.is_floating_point() else variables
    if points.shape[-len(event) :] != event:
        sizes = ", ".join(map(str, variables))
        raise ValueError(
            f"points must be ids [*lead, {sizes}] or one-hots [*lead, {sizes}, {categories}]; these are "
            f"{points.dtype} of shape {_shape(points)}."
        )


def ids_of_logits(ids: Tensor, variables: torch.Size) -> None:
    """Refuse ids to which the logits' variables do not broadcast."""
    if ids.dtype != torch.int64:
        raise TypeError(f"points are int64 ids, or one-hots of a floating-point dtype, not {ids.dtype}.")
    if not _broadcasts(variables, ids.shape):
        raise ValueError(
            f"ids of shape {_shape(ids)} do not belong to logits of {tuple(variables)} variables, which must broadcast "
            "to them; integer points are ids, so give one-hots as floating-point numbers."
        )


def takes_part(mask: Tensor, variables: torch.Size, which: str = "") -> None:
    """Refuse a mask that does not belong to the variables."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError("mask must be a boolean tensor, True where a variable takes part.")
    if not _broadcasts(mask.shape, variables):
        raise ValueError(
            f"mask has shape {_shape(mask)}, which does not broadcast to the variables' shape "
            f"{tuple(variables)}{which}."
        )


def _broadcasts(shape: torch.Size, target: torch.Size) -> bool:
    try:
        return torch.broadcast_shapes(shape, target) == target
    except RuntimeError:
        return False


def values(values: Tensor, points: int, variables: torch.Size) -> None:
    """Refuse values that do not belong to the points."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        found = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"values must be a floating-point tensor of f at the points, not {found}.")
    if values.ndim == 0 or values.shape[0] != points:
        raise ValueError(
            f"values must have one entry a point: [S, *batch] with S = {points}; they have shape {_shape(values)}."
        )
    batch = values.shape[1:]
    if batch != variables[: len(batch)]:
        raise ValueError(
            f"values must be [S, *batch] where *batch begins the variables' shape {tuple(variables)}; they have "
            f"shape {_shape(values)}. Average or sum f over dimensions that the logits do not have."
        )


def in_batch(scores: Tensor, targets: Tensor | None, context: Tensor | None, mask: Tensor | None) -> None:
    """Refuse scores of queries and documents that do not fit together."""
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        raise TypeError("scores must be a floating-point tensor [S, queries, documents].")
    if scores.ndim != 3 or 0 in scores.shape:
        raise ValueError(f"scores must be [S, queries, documents], not of shape {_shape(scores)}.")
    queries, documents = scores.shape[1:]
    if targets is None:
        if queries > documents:
            raise ValueError(
                f"without targets query i belongs to document i, but there are {queries} queries and only {documents} "
                "documents; give targets, [queries] numbers or [queries, documents] probabilities."
            )
    else:
        _targets(targets, queries, documents, mask)
    if context is not None and (context.ndim != 3 or context.shape[1:] != scores.shape[1:] or not len(context)):
        raise ValueError(
            f"context must be the scores at other draws of all documents, [K, {queries}, {documents}], not of shape "
            f"{_shape(context)}."
        )
    if mask is not None:
        if mask.dtype != torch.bool or mask.shape != scores.shape[1:]:
            raise ValueError(f"mask must be bool [{queries}, {documents}], not {mask.dtype} of shape {_shape(mask)}.")
        if targets is None and looks_at_data(mask, None) and _any(~mask.diagonal()[:queries]):
            raise ValueError("the mask puts off a query's own document; let it be True there.")


def _targets(targets: Tensor, queries: int, documents: int, mask: Tensor | None) -> None:
    numbers = not targets.is_floating_point()
    if targets.shape != ((queries,) if numbers else (queries, documents)) or targets.dtype == torch.bool:
        raise ValueError(
            f"targets must be int64 [{queries}], each query's document, or probabilities [{queries}, {documents}], not "
            f"{targets.dtype} of shape {_shape(targets)}."
        )
    if not looks_at_data(targets, None):
        return
    if numbers:
        if _any((targets < 0) | (targets >= documents)):
            raise ValueError(f"targets must be numbers of documents, in [0, {documents}).")
        wanted = torch.zeros(queries, documents, dtype=torch.bool, device=targets.device).scatter_(
            1, targets.unsqueeze(1), True
        )
    else:
        wanted = targets > 0
        if _any((targets < 0) | ~targets.isfinite()) or _any((targets.sum(1) - 1).abs() > 1e-3):
            raise ValueError("targets must be probabilities: of each query at least 0, with sum 1.")
    if mask is not None and mask.shape == wanted.shape and _any(wanted & ~mask):
        raise ValueError("the mask puts off a query's own document; let it be True there.")


def unspoiled(stale: bool, of_inference: bool) -> None:
    """Refuse logits that are no longer those that the points were drawn from, and points that autograd may not keep."""
    if stale:
        raise ValueError(
            "the logits were changed in place between sample and surrogate, so the points were drawn from others; take "
            "the surrogate before an optimizer steps, or sample from logits.clone()."
        )

    if of_inference:
        raise ValueError(
            "this draw was made under torch.inference_mode, whose tensors take part in no backward pass; sample "
            "outside of it, or under torch.no_grad, which is as fast here."
        )


def not_nan(average: Tensor, validate: bool | None) -> None:
    """Refuse NaN among the values, of which this is an average: so what has no probability counts nothing."""
    if looks_at_data(average, validate) and not _finite(average.sum()) and _any(average.isnan()):
        raise ValueError(
            "values hold NaN, or infinities of both signs, at points that count; look at what f returns there, or mask "
            "the variables that mean nothing."
        )


def differentiates_f(in_transform: bool) -> None:
    """Refuse to differentiate f where torch.func has its tensors."""
    if in_transform:
        raise ValueError(
            "this estimator differentiates f inside of surrogate, which torch.func.grad and vmap do not let through; "
            "call backward without them, in a loop over what vmap would batch, or use an estimator that needs values "
            "only, such as RLOO."
        )


def not_recomputed(generator: torch.Generator | None) -> None:
    """Refuse a generator of the user's where a backward pass computes something again: it has moved on meanwhile."""
    if generator is not None and torch._C._current_graph_task_id() != -1:
        raise ValueError(
            "sample was called with a generator inside of a backward pass, as torch.utils.checkpoint does to compute "
            "again: the generator would give other points than before. Leave generator=None, for checkpoint puts "
            "the default one back, or sample outside of what is checkpointed."
        )


def stream(stream: object, compiling: bool) -> None:
    """Refuse what numbers no stream, and streams where there are no generators."""
    if compiling:
        raise ValueError(
            "torch.compile takes no stream=; call torch.manual_seed(seed + rank) in every process instead."
        )
    if stream is not None and (not isinstance(stream, int) or isinstance(stream, bool)):
        raise ValueError(f"stream is an integer, such as the rank of a process, not {stream!r}.")


def seed(number: Tensor) -> int:
    """A seed that was drawn; refused where every element of a batch has its own."""
    try:
        return int(number)
    except RuntimeError as error:
        raise ValueError(
            "stream= derives one seed, where torch.func.vmap wants noise for every element; seed the default generator "
            "of every process differently instead, by torch.manual_seed(seed + rank)."
        ) from error


def joint_values(values: Tensor, value_weights: Tensor) -> None:
    """Refuse values that share one f among variables which were not enumerated jointly."""
    if values.ndim < value_weights.ndim:
        raise ValueError(
            f"values of shape {_shape(values)} leave more dimensions to the event than were enumerated jointly; "
            f"expected [S, *batch] = {_shape(value_weights)}, or raise event_dims."
        )


def distinct_values(values: Tensor, point_of: Tensor) -> None:
    """Refuse values that share one f among variables whose points were compared apart."""
    if values.ndim < point_of.ndim:
        raise ValueError(
            f"values of shape {_shape(values)} leave more dimensions to the event than event_dims says: points were "
            f"compared for every one of {tuple(point_of.shape[1:])} batch elements; raise event_dims."
        )


def readable(number: Tensor) -> int:
    """A number that the host must know; refused where there is none to be had."""
    try:
        return int(number)
    except RuntimeError as error:
        raise ValueError(
            "how many distinct points there are decides how often f is evaluated, and cannot be read under "
            "torch.func.vmap or on the meta device; use distinct=False."
        ) from error


def enumerable(outcomes: int, variables: int, limit: int) -> None:
    """Refuse an enumeration that would not end."""
    if outcomes**variables > limit:
        raise ValueError(
            f"{variables} variables of {outcomes} outcomes each have {outcomes}**{variables} joint ones, more than the "
            f"{limit} that enumeration is meant for; sample instead, or give a smaller problem."
        )


def fits(numbers: int, size: int, like: Tensor, what: str, instead: str) -> None:
    """Refuse what the device has not the memory for, before it is allocated.

    Args:
        numbers: how many would be held at a time.
        size: bytes of each.
        like: a tensor on the device.
        what: these numbers are, in the plural.
        instead: what can be done.
    """
    if torch.compiler.is_compiling():  # sizes may be symbols, and nothing is allocated here
        return
    there = installed(like.device)
    if there is not None and numbers * size > there:
        raise ValueError(
            f"{what} would take {numbers * size / 2**30:.3g} GiB, and the device has {there / 2**30:.3g}; {instead}."
        )


def installed(device: torch.device | None = None) -> int | None:
    """Bytes of memory of a device, by default of the machine; None where it does not tell."""
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device is not None and device.type != "cpu":
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no sysconf, or not of these names
        return None


def law_of_copula(categories: int, laws: int, short: bool) -> None:
    """Refuse laws of pairs of a copula's points that would drown in rounding, or not end.

    Args:
        categories: C.
        laws: how many of them.
        short: whether each takes C steps, not one for each order.
    """
    if torch.compiler.is_compiling():
        return
    instead = "use DisARMTree or Flow(NearlyDistinct()), or the copula with weights=Score()."
    if categories > MOST_OF_COPULA:
        raise ValueError(
            f"two points of a copula are some pairs of categories in one of C (C - 1) / 2 orders only, whose "
            f"probability has too few digits left with more than {MOST_OF_COPULA} categories, and here are "
            f"{categories}; {instead}"
        )
    terms = laws * (categories if short else categories * (categories - 1) // 2)
    if terms > MOST_TERMS:
        raise ValueError(
            f"the weights of points of a copula of C = {categories} categories are here sums of {terms:.2g} terms, "
            f"which would take hours; {instead}"
        )


def flow_of_huffman(categories: int) -> None:
    """Refuse minimum-norm weights of Huffman trees whose nodes would take minutes to lay out."""
    if not torch.compiler.is_compiling() and categories**2 > MOST_NODES:
        raise ValueError(
            f"minimum-norm weights of a Huffman tree lay out its nodes in steps that grow with the square of the "
            f"categories, {categories}**2 of them, more than {MOST_NODES}; use Flow(Tree()), Flow(NearlyDistinct()) or "
            "DisARMTree(tree='huffman')."
        )


def on(on: str, takes_ids: bool, name: str) -> None:
    """Refuse an f on ids where ids do not tell all."""
    if on not in ("points", "ids"):
        raise ValueError(f"on is 'points' or 'ids', not {on!r}.")
    if on == "ids" and not takes_ids:
        raise ValueError(
            f"{name} needs the gradient of f in the points, or f at points that have no ids; use on='points', or an "
            "estimator that needs values only, such as RLOO."
        )


def gradient_of_f(reaches_points: bool, name: str) -> None:
    """Refuse values that are cut off from points which should carry the gradient."""
    if not reaches_points:
        raise ValueError(
            f"{name} needs the gradient of f, but the values carry no graph back to draw.points; compute f from "
            "draw.points with differentiable operations, or use an estimator that needs values only, such as RLOO."
        )


def _finite(number: Tensor) -> bool:
    try:
        return math.isfinite(number)
    except RuntimeError as error:
        if "vmap" in str(error):  # under torch.func.vmap no entry can be looked at
            return True
        raise


def _any(found: Tensor) -> bool:
    try:
        return bool(found.any())
    except RuntimeError as error:
        if "vmap" in str(error):  # under torch.func.vmap no entry can be looked at
            return False
        raise


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
