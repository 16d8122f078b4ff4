"""One process at a time in a folder, by a lock of the operating system, which ends with its
process, however that ends. The file stays."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from seqmodels.errors import UserError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within: no other process can hold this lock. The folder that it locks is created."""
    # `is_locked` of another process holds it for a moment. A soft lock would outlive a killed run.
    lock = FileLock(path, timeout=0.2, poll_interval=0.02, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    except Timeout as error:
        holder = path.read_text() or "another process"  # which is just writing its name
        holds = f"{path.parent}: {holder} is training in this folder"
        raise UserError(f"{holds}; wait for its end, or end it") from error
    except OSError as error:
        raise UserError(f"{path} cannot be written and locked: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


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
