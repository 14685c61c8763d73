"""SKILL: Moiseev, Dong, Alfonseca, Jaggi 2022 (arXiv 2205.08184), and paths of relations as discrete latents."""

from experiments.systems.skill.paths import PathTask
from experiments.systems.skill.policy import PathPolicy

__all__ = ["PathPolicy", "PathTask"]
