"""CEDet (arXiv 2310.07638), reconstructed: buildings found with a look at the scene and at the buildings around."""

from experiments.systems.cedet.model import Detector
from experiments.systems.cedet.task import CEDetTask

__all__ = ["CEDetTask", "Detector"]
