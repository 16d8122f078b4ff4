"""One process at a time in a folder, by a lock of the operating system, which ends with its
process, however that ends. The file stays."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from seqmodels.errors import UserError

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Within: no other process can hold this lock; `what` says what the holder does, such as "is
    training". The folder that it locks is created.

    Raises:
        UserError: if another process holds it, or the folder cannot be written to.
    """
    # `is_locked` of another process holds it for a moment. A soft lock would outlive a killed run.
    lock = FileLock(path, timeout=0.2, poll_interval=0.02, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    except Timeout as error:
        raise UserError(_refusal(path, what)) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
        log.warning(f"{path.parent}: no locks on this file system, so start no second run here")
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


def check_unlocked(path: Path, what: str) -> None:
    """Raises UserError if a process holds this lock."""
    if is_locked(path):
        raise UserError(_refusal(path, what))


def _refusal(path: Path, what: str) -> str:
    holder = path.read_text() or "another process"  # which is just writing its name
    return f"{path.parent}: {holder} {what} in this folder; wait for its end, or end it"
