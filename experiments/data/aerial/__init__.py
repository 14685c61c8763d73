"""Images of the earth from above, with what is on them: rendered ones, and real ones."""

from experiments.data.aerial.scenes import Scene, Thing

__all__ = ["Scene", "Thing"]
