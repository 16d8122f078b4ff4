"""One process at a time in a folder, by a lock of the operating system, which ends with its
process, however that ends. The file stays where the system lets it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor, unlock_descriptor

from seqmodels.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has none.
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within: no other process can hold this lock. The folder that it locks is created."""
    # `is_locked` of another process holds it for a moment. A soft lock would outlive a killed run.
    lock = FileLock(path, timeout=0.2, poll_interval=0.02, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        _write_holder(path)
    except Timeout as error:
        # There is no name while the other process is just writing it.
        holder = _read_holder(path) or "another process"
        raise UserError(
            f"{path.parent}: {holder} is training in this folder; wait for its end, or end it"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be written and locked: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock, as far as this machine can tell."""
    try:
        with path.open("rb") as file:
            return not _is_free(file.fileno())
    except OSError:
        return False


def _is_free(descriptor: int) -> bool:
    """Whether no process holds the lock of an open file."""
    if fcntl is None:
        if not lock_descriptor(descriptor, blocking=False):
            return False
        unlock_descriptor(descriptor)
        return True
    try:  # A shared lock needs no right to write here, even over NFS.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# Windows locks the first byte of the file, which then nobody else can read or write, nor cut the
# file: the name of the process is the line after it. It is not buffered, which would read the byte.


def _write_holder(path: Path) -> None:
    with path.open("r+b", buffering=0) as file:
        file.seek(1)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _read_holder(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        file.seek(1)
        return file.read().partition(b"\n")[0].decode()
