"""Text files of any size: pieces of them, read in blocks and cut at line ends."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np

from seqmodels.data.notes import share
from seqmodels.errors import UserError
from seqmodels.files import BLOCK, decoded, existing_file
from seqmodels.screen import show_progress

SAMPLED = 1 << 20  # bytes of a stretch at least, where a sample is taken
STRETCH = 1 << 12  # bytes of a stretch at least, where a split is cut from several places


@dataclass(frozen=True)
class Piece:
    """The bytes `start..stop` of a file, which had this `state`: its size, and the time of its last
    change in nanoseconds."""

    path: Path
    start: int
    stop: int
    state: tuple[int, int] | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return self.stop - self.start

    def cut_off(self, fraction: float) -> tuple[Piece, Piece]:
        """Cuts about `fraction` off the end: `(what remains, what was cut off)`.

        It cuts after a line if the next line end is near, and otherwise between two characters.
        """
        position = self.start + int(len(self) * (1 - fraction))
        with self.path.open("rb") as file:
            file.seek(position)
            line = file.readline(min(BLOCK, self.stop - position))
        if line.endswith(b"\n") and position + len(line) < self.stop:
            position += len(line)
        else:  # in UTF-8, a byte 10xxxxxx is inside a character
            position += next((i for i, byte in enumerate(line[:4]) if byte & 0xC0 != 0x80), 0)
        return replace(self, stop=position), replace(self, start=position)

    def blocks(self) -> Iterator[bytes]:
        """The bytes of the piece, at most `BLOCK` at a time.

        Raises:
            UserError: if the file cannot be read, or is another one than it was.
        """
        left = len(self)
        try:
            with self.path.open("rb") as file:
                file.seek(self.start)
                while block := file.read(min(BLOCK, left)):
                    left -= len(block)
                    yield block
                state = _state(os.fstat(file.fileno()))
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}") from error
        if left or self.state not in (None, state):
            raise self._changed()

    def check_unchanged(self) -> None:
        """Raises a `UserError` if the file is another one than it was."""
        try:
            state = _state(self.path.stat())
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}") from error
        if state != self.state:
            raise self._changed()

    def _changed(self) -> UserError:
        return UserError(f"{self.path} changed while it was read: start again when it is final")

    def first_line(self) -> int:
        """The number of the line of the file that the piece begins in."""
        before = Piece(self.path, 0, self.start)
        return 1 + sum(block.count(b"\n") for block in before.blocks())


Pieces = Sequence[Piece]  # the text of one split


def whole(path: Path) -> Piece:
    """A whole file as one piece.

    Raises:
        UserError: if there is no such file.
    """
    facts = Path(existing_file(str(path))).stat()
    return Piece(path, 0, facts.st_size, _state(facts))


def _state(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_size, facts.st_mtime_ns


def size(pieces: Pieces) -> int:
    """The number of bytes."""
    return sum(map(len, pieces))


def texts(pieces: Pieces, encoding: str = "utf-8") -> Iterator[str]:
    """The decoded text in blocks of about `BLOCK` bytes, which end with a line if possible, or else
    before a space.

    Raises:
        UserError: if a line is not text in this encoding.
    """
    for piece in pieces:
        unfinished = ""
        for block in decoded(piece.blocks(), str(piece.path), encoding, piece.first_line):
            if not block:  # such as the last one
                continue
            text = unfinished + block
            end = text.rfind("\n") + 1 or max(text.rfind(" "), 0) or len(text)
            unfinished = text[end:]
            if end:
                yield text[:end]
        if unfinished:
            yield unfinished


def fingerprint(splits: Mapping[str, Pieces]) -> str:
    """A hash of the content of each split and of where it is cut; names of files don't count."""
    digest = hashlib.blake2b(digest_size=8)
    with show_progress("reading", sum(map(size, splits.values()))) as done:
        for name, pieces in splits.items():
            digest.update(f"{name}:{size(pieces)}\0".encode())
            for piece in pieces:
                digest.update(b"%d:" % len(piece))
                for block in piece.blocks():
                    digest.update(block)
                    done(len(block))
    return digest.hexdigest()


def same_files(splits: Mapping[str, Pieces]) -> list[str]:
    """How many bytes of a split are in an earlier split, too, because a file is in both."""
    found = []
    for (first, known), (second, pieces) in combinations(splits.items(), 2):
        if both := _in_both(known, pieces):
            found.append(
                f"{share(both, size(pieces), 'bytes')} of the {second} split are in the {first} "
                "split, too: a file is in both"
            )
    return found


def _in_both(known: Pieces, pieces: Pieces) -> int:
    """The bytes of pieces that lie in a known one, or have the same content."""
    of_file, of_size = defaultdict[Path, list[Piece]](list), defaultdict[int, list[Piece]](list)
    for piece in known:
        of_file[piece.path.resolve()].append(piece)
        of_size[len(piece)].append(piece)
    both = 0
    for piece in pieces:
        same_file = of_file.get(piece.path.resolve(), ())
        both += sum(
            max(min(piece.stop, other.stop) - max(piece.start, other.start), 0)
            for other in same_file
        )
        if not same_file and len(piece) and (alike := of_size.get(len(piece))):
            content = fingerprint({"": [piece]})
            both += len(piece) * any(fingerprint({"": [other]}) == content for other in alike)
    return both


def cut_off(
    pieces: Pieces, fraction: float, seed: int, stretches: int = 1
) -> tuple[Pieces, Pieces]:
    """Cuts about `fraction` of the bytes off: `(what remains, what was cut off)`.

    It cuts whole pieces off at random if there are several. If there is only one, it divides it
    into as many equal parts as it cuts stretches, and cuts off the end of each.

    Args:
        seed: the same seed cuts the same pieces off.
        stretches: how many to cut one piece into; fewer where they would be shorter than
            `STRETCH` bytes.
    """
    if len(pieces) == 1:
        count = min(stretches, int(len(pieces[0]) * fraction) // STRETCH)
        cuts = [piece.cut_off(fraction) for piece in _divided(pieces[0], count)]
        return [remaining for remaining, _ in cuts], [off for _, off in cuts]
    left, chosen = fraction * size(pieces), set[int]()
    for index in np.random.default_rng(seed).permutation(len(pieces)).tolist():
        if len(pieces[index]) <= left:
            chosen.add(index)
            left -= len(pieces[index])
    if not any(len(pieces[index]) for index in chosen):  # take the smallest that has text
        chosen = {min(range(len(pieces)), key=lambda index: len(pieces[index]) or float("inf"))}
    sides: tuple[list[Piece], list[Piece]] = ([], [])
    for index, piece in enumerate(pieces):
        sides[index in chosen].append(piece)
    return sides


def sample(pieces: Pieces, most: int) -> Pieces:
    """About `most` bytes of the text: all of it, or stretches that are evenly spread."""
    kept = most / max(size(pieces), 1)
    if kept >= 1:
        return pieces
    smaller = [_divided(piece, int(len(piece) * kept) // SAMPLED) for piece in pieces]
    return [off for piece in chain(*smaller) if len(off := piece.cut_off(kept)[1])]


def _divided(piece: Piece, count: int) -> list[Piece]:
    """`count` pieces of about the same length, in place of one; at least that one."""
    pieces = list[Piece]()
    for left in range(count, 1, -1):
        first, piece = piece.cut_off(1 - 1 / left)
        pieces.append(first)
    return [*pieces, piece]
