"""Locks between processes, which end with the process that holds them, however that ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, busy: Callable[[], object]) -> Iterator[int]:
    """Hold a file or folder alone; its descriptor, which a process started within may be passed to hold it as well.

    On a file system without locks, whoever asks holds it.

    Args:
        path: of the file or folder, which is there.
        busy: called where another process holds it, before waiting for that; raises to not wait.

    Raises:
        OSError: where it cannot be opened.
    """
    import fcntl

    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # to write, as locks over NFS want it
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # without locks
            pass
        yield handle
    finally:
        os.close(handle)
