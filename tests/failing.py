"""A function that fails when it is called for the n-th time."""

from collections.abc import Callable, Container

from torch import Tensor


class Failing:
    """f, which counts its calls and raises at some of them.

    Args:
        f: of points.
        error: what is raised.
        at: the calls, from 1.
        points: only calls with so many points are counted.
    """

    def __init__(
        self, f: Callable[[Tensor], Tensor], error: BaseException, at: Container[int] = (), points: int | None = None
    ) -> None:
        self.f, self.error, self.at, self.points = f, error, at, points
        self.calls = 0

    def __call__(self, points: Tensor) -> Tensor:
        if self.points in (None, len(points)):
            self.calls += 1
            if self.calls in self.at:
                raise self.error
        return self.f(points)

    def from_call(self, number: int) -> None:
        """Count anew, and fail from that call on."""
        self.calls, self.at = 0, range(number, 10**9)
