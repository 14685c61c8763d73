"""Images of the earth from above, with what is on them: rendered ones, and real ones."""

from experiments.data.aerial.buildings import buildings
from experiments.data.aerial.scenes import Aerial, Scene, Scenes, Thing

__all__ = ["Aerial", "Scene", "Scenes", "Thing", "buildings"]
