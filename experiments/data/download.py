"""Fetch a file once, whoever asks: resumed where it broke off, there whole or not at all."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from experiments.engine.errors import UserError
from experiments.locks import locked

CHUNK = 2**16


def fetch(url: str, path: Path, check: Callable[[Path], object], remedy: str) -> None:
    """Download `url` to `path`. What has arrived stays in `path` + '.part', and the next call goes on from there.

    Args:
        url, path: from where, to where.
        check: called with the complete file before it is put in place; raises UserError to refuse it.
        remedy: what else the user can do.

    Raises:
        UserError: that ends in the remedy, where the server cannot be reached or breaks off, or sends something else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The processes of a run, and runs of a sweep, begin at the same time.
        with locked(path.parent, busy=lambda: None):
            if not path.exists():
                _fetch(url, path, check, remedy)
    except OSError as error:
        raise UserError(f"{url} cannot be downloaded ({error}); {remedy}") from error


def _fetch(url: str, path: Path, check: Callable[[Path], object], remedy: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        have = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        with urllib.request.urlopen(request, timeout=30) as response:
            if have and response.status != 206:  # the server does not resume, and sends all
                have = 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            with (
                open(part, "ab" if have else "wb") as file,
                tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=path.name, leave=False) as bar,
            ):
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
                file.flush()
                os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is missing
            raise UserError(f"{url} cannot be downloaded ({error}); {remedy}") from error
        total = have
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{url} cannot be downloaded ({error}); {remedy}") from error
    if total is not None and part.stat().st_size < total:
        raise UserError(
            f"{url} broke off after {part.stat().st_size} of {total} bytes; run again to go on, or {remedy}"
        )
    try:
        check(part)
    except UserError as error:
        part.unlink()  # to go on from there would end the same way
        raise UserError(f"{url} is not what it should be ({error}); run again, or {remedy}") from error
    os.replace(part, path)
