"""Packages that not every user has installed."""

from __future__ import annotations

from importlib.util import find_spec

from experiments.errors import UserError


def require_extra(extra: str, *packages: str) -> None:
    """Refuse to go on without packages, none of which is imported.

    Args:
        extra: of this project, that brings them.
        packages: as they are imported.

    Raises:
        UserError: that says how to install them.
    """
    missing = [package for package in packages if not _there(package)]
    if missing:
        raise UserError(
            f"{' and '.join(missing)} must be installed for this; run: pip install -c constraints.txt -e '.[{extra}]'"
        )


def _there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # what it is in
        return False
