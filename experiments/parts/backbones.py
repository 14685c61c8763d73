"""Networks from images to maps of features at several scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.engine import UserError, require_count
from experiments.parts.architectures import configuration


def backbone(sizes: Mapping[str, Any], bands: int, setting: str = "model.backbone") -> Any:
    """A backbone of `transformers`, all of whose stages it returns as `feature_maps`, from fine to coarse.

    Args:
        sizes: its `model_type` and sizes, such as those of resnet, convnext or swin.
        bands: of the images.
        setting: the sizes' place in the configuration, for refusals.

    Raises:
        UserError: where `transformers` has no such backbone.
    """
    from transformers import AutoBackbone

    stages = len(sizes.get("depths", ()))
    require_count(f"the number of {setting}.depths", stages, least=2)
    fixed = {"num_channels": bands, "out_indices": [*range(1, stages + 1)]}
    config = configuration(setting, sizes, "resnet", {}, fixed)
    try:
        return AutoBackbone.from_config(config)
    except ValueError as error:
        raise UserError(
            f"transformers has no backbone of {setting}.model_type={sizes['model_type']}; give one, such as resnet."
        ) from error
