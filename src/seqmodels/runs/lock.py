"""One process at a time in a folder, by a lock of the operating system, which ends with its
process, however that ends. The file stays."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqmodels.errors import UserError

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within: no other process can hold this lock. The folder that it locks is created.

    Raises:
        UserError: if another process holds it, or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = path.read_text() or "another process"  # which is just writing its name
            raise UserError(
                f"{path.parent}: {holder} is training in this folder; wait for its end, or end it"
            ) from error
        except OSError as error:
            log.warning(f"{path}: {error.strerror}: start no second run in this folder")
        file.truncate(0)
        print(f"process {os.getpid()} on {socket.gethostname()}", end="", file=file, flush=True)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock, as far as this machine can tell."""
    try:
        with path.open() as file:  # a shared lock needs no right to write here, even over NFS
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
