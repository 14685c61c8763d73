"""Configurations of architectures of `transformers`, from sizes that a user gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.errors import UserError


def configuration(
    setting: str,
    sizes: Mapping[str, Any],
    example: str,
    fixed: Mapping[str, Any],
    possible: Mapping[str, Any] | None = None,
) -> Any:
    """The configuration of an architecture.

    Args:
        setting: the sizes' place among the user's, for refusals.
        sizes: `model_type` and what else the configuration of that architecture has, such as `hidden_size`.
        example: an architecture to recommend.
        fixed: what is not the user's to choose.
        possible: the same, where the architecture has it.

    Raises:
        UserError: where `transformers` has no such architecture, or the architecture no such size.
    """
    from transformers import CONFIG_MAPPING

    kind = sizes.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise UserError(f"{setting}.model_type={kind} is no architecture of transformers; give one, such as {example}.")
    default = CONFIG_MAPPING[kind]()
    known = default.to_dict()
    unknown = sorted(sizes.keys() - known.keys() - default.attribute_map.keys())
    if unknown:
        raise UserError(f"{setting}.{unknown[0]} is nothing that {kind} has; leave it out.")
    own = {name: value for name, value in (possible or {}).items() if name in known} | {**fixed}
    return CONFIG_MAPPING[kind](**own | {name: size for name, size in sizes.items() if name != "model_type"})
