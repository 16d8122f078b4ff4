"""One process at a time in a folder, by locks of the operating system.

They end with their process, however it ends, so no lock is left behind. They hold between machines
too where the network file system passes them on, as NFS does by default.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from seqmodels.errors import UserError

log = logging.getLogger(__name__)

_held: set[IO[str]] = set()


def _close_all() -> None:
    for file in _held:
        file.close()


# a data worker is a fork of its training, and would keep the training's lock when that is killed
os.register_at_fork(after_in_child=_close_all)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Within: no other process can hold this lock.

    Args:
        path: a file, which is removed afterwards; the folder that it locks is created.
        what: the holder does in the folder, such as "is training".

    Raises:
        UserError: if another process holds it, or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _acquire(path, what)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    _held.add(file)
    try:
        yield
    finally:
        if _is_at(file, path):
            with suppress(OSError):  # the disk may be read-only by now
                path.unlink()  # before others can lock it
        _held.discard(file)
        file.close()


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock, as far as this machine can tell."""
    try:
        with path.open() as file:
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


def _acquire(path: Path, what: str) -> IO[str]:
    for _ in range(10):
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            time.sleep(0.02)  # `is_locked` of another process holds it for a moment
            continue
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            log.warning(f"{path.parent}: no locks on this file system, so start no second run here")
        if _is_at(file, path):  # otherwise its holder removed it meanwhile
            file.truncate(0)
            file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
            file.flush()
            return file
        file.close()
    raise UserError(_refusal(path, what))


def _is_at(file: IO[str], path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _refusal(path: Path, what: str) -> str:
    holder = "another process"
    with suppress(OSError, ValueError, KeyError, TypeError):  # it is just being written
        with path.open() as file:
            owner = json.loads(file.read(1000))
        holder = f"process {int(owner['process'])} on {owner['host']}"
    return f"{path.parent}: {holder} {what} in this folder; wait for its end, or end it"
