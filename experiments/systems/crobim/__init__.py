"""Referring segmentation from above, after CroBIM (arXiv 2410.08613): a reconstruction, with crops that are latents."""

from experiments.systems.crobim.model import CroBIM
from experiments.systems.crobim.task import CroBIMTask

__all__ = ["CroBIM", "CroBIMTask"]
