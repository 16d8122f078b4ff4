"""One process at a time in a folder, by locks of the operating system.

They end with their process, however it ends, so no lock is left behind. They hold between machines
too where the network file system passes them on, as NFS does by default.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from seqmodels.errors import UserError

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Within: no other process can hold this lock.

    Args:
        path: a file, which is removed afterwards; the folder that it locks is created.
        what: what the holder does in the folder, such as "is training".

    Raises:
        UserError: if another process holds it, or the folder cannot be written to.
    """
    # `is_locked` of another process holds it for a moment. A soft lock would outlive a killed run.
    lock = FileLock(path, timeout=0.2, poll_interval=0.02, fallback_to_soft=False)
    this = f"process {os.getpid()} on {socket.gethostname()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path)
        path.write_text(this)
    except Timeout as error:
        raise UserError(_refusal(path, what)) from error
    except OSError as error:
        lock.release()
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        if _holder(path) == this:  # not a run in a new folder of this name
            with suppress(OSError):  # the disk may be read-only by now
                path.unlink()  # before others can lock it
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock, as far as this machine can tell."""
    try:
        with path.open() as file:  # a shared lock needs no right to write here, even over NFS
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def check_unlocked(path: Path, what: str) -> None:
    """Raises UserError if a process holds this lock."""
    if is_locked(path):
        raise UserError(_refusal(path, what))


def _acquire(lock: FileLock, path: Path) -> None:
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning(f"{path.parent}: no locks on this file system, so start no second run here")


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError):
        return path.read_text()[:300]
    return ""


def _refusal(path: Path, what: str) -> str:
    holder = _holder(path) or "another process"  # which is just writing its name
    return f"{path.parent}: {holder} {what} in this folder; wait for its end, or end it"
