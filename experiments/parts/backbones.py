"""Networks from images to maps of features at several scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.errors import UserError, require_count
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
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

    kind, stages = sizes.get("model_type"), len(sizes.get("depths", ()))
    if kind not in MODEL_FOR_BACKBONE_MAPPING_NAMES:
        raise UserError(f"{setting}.model_type={kind} is no backbone of transformers; give one, such as resnet.")
    require_count(f"the number of {setting}.depths", stages, least=2)
    fixed = {"num_channels": bands, "out_indices": [*range(1, stages + 1)]}
    return AutoBackbone.from_config(configuration(setting, sizes, "resnet", {}, fixed))
