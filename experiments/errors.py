"""What a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """One sentence that says what is wrong and what to do; shown without a traceback."""


def require_count(name: str, count: object, least: int = 1) -> None:
    """Refuse what is not an integer of at least `least`.

    Raises:
        UserError: that calls it by its name in the configuration.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise UserError(f"{name} must be an integer of at least {least}, not {count!r}.")


def require_number(name: str, number: object, least: float, below: float) -> None:
    """Refuse what is not a number in [least, below), as `require_count` does."""
    if not isinstance(number, int | float) or isinstance(number, bool) or not least <= number < below:
        raise UserError(f"{name} must be a number in [{least:g}, {below:g}), not {number!r}.")
