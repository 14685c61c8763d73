"""Variational autoencoders with several layers of discrete latents: Dong, Mnih, Tucker 2020 (arXiv 2006.10680)."""

from experiments.systems.hierarchical_vae.model import HierarchicalVAE
from experiments.systems.hierarchical_vae.task import HierarchicalVAETask

__all__ = ["HierarchicalVAE", "HierarchicalVAETask"]
