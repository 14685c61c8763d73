"""Images of the earth from above, with what is on them: rendered ones, and real ones."""

from experiments.data.aerial.buildings import buildings
from experiments.data.aerial.lazy import Later, Lazy
from experiments.data.aerial.published import refsegrs, risbench, rrsis_d
from experiments.data.aerial.referring import referring
from experiments.data.aerial.scenes import Aerial, Referred, Referring, Scene, Thing
from experiments.data.aerial.sentinel import referring_on_sentinel
from experiments.data.aerial.spacenet import spacenet
from experiments.data.aerial.windows import atlanta_halves, windows

__all__ = [
    "Aerial",
    "Later",
    "Lazy",
    "Referred",
    "Referring",
    "Scene",
    "Thing",
    "atlanta_halves",
    "buildings",
    "referring",
    "referring_on_sentinel",
    "refsegrs",
    "risbench",
    "rrsis_d",
    "spacenet",
    "windows",
]
