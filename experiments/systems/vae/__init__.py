"""A variational autoencoder with discrete latents: Dong, Mnih, Tucker 2021 (arXiv 2106.08056)."""

from experiments.systems.vae.model import VAE
from experiments.systems.vae.task import VAETask

__all__ = ["VAE", "VAETask"]
