"""Dual encoders: Dong, Ni, Bikel, Alfonseca, Wang, Qu, Zitouni 2022 (arXiv 2204.07120)."""

from experiments.systems.dual_encoder.bits import BitsTask
from experiments.systems.dual_encoder.model import DualEncoder
from experiments.systems.dual_encoder.sharing import SharingTask
from experiments.systems.dual_encoder.task import DualEncoderTask

__all__ = ["BitsTask", "DualEncoder", "DualEncoderTask", "SharingTask"]
