"""Find a file at hand, or fetch it once, whoever asks: resumed where it broke off, there whole or not at all."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from experiments.errors import UserError
from experiments.locks import locked

CHUNK = 2**16
ANEW = "delete it and run again to download it anew, or name another folder with data.root=FOLDER."
"""What to do about a file that is not what it should be."""


def locate(
    data: str,
    names: Sequence[str],
    root: str | None,
    url: str | None,
    cache: str | None,
    check: Callable[[Path], object],
) -> Path:
    """Where a data set's file lies: in the user's folder, or else in the cache, which is filled by a download.

    Args:
        data: the data set's name, and that of its folder in the cache.
        names: that the file may have in the user's folder; a download has the last of them.
        root: the user's folder; nothing is downloaded then.
        url: of the folder to download from, with a slash at the end.
        cache: a folder for what was downloaded.
        check: see `fetch`.

    Raises:
        UserError: where it is not there, and cannot be had.
    """
    if root is not None:
        folder = Path(root).expanduser()
        found = next((folder / name for name in names if (folder / name).exists()), None)
        if found is None:
            lacks = f"neither {' nor '.join(names)}" if len(names) > 1 else f"no {names[0]}"
            raise UserError(
                f"{folder} holds {lacks}; name the folder that does with data.root=FOLDER, or leave data.root out to "
                "download it."
            )
        return found
    if url is None or cache is None:
        raise UserError(f"{data} is not shipped and has no address; name a folder that holds it with data.root=FOLDER.")
    path = Path(cache).expanduser() / data / names[-1]
    if not path.exists():
        remedy = "name a folder that holds it with data.root=FOLDER, or use data=mnist_subset."
        fetch(f"{url}{names[-1]}", path, check, remedy)
    return path


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
