"""Which name was probably meant by one that is not among those there are."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

ALIKE, INITIALS = 0.65, 0.95  # from 0 to 1


def closest(wrong: str, names: Iterable[str]) -> str | None:
    """Return the name that is most like a wrong one; None if none is alike."""
    near = get_close_matches(wrong, sorted({*names}), n=1, cutoff=0.5)
    return near[0] if near else None


def nearest(wrong: str, names: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """Return the names that a key may stand for, at most three; none if none is alike.

    The last part decides: `lr` and `learning_rate` find `model.optimizer.lr`, `hidden` and
    `hiden_size` find `model.encoder.hidden_size`. Of equals, those in the key's own group count; in
    another group, only the same word does.

    Args:
        others: names that count less, and only if their last part or their group is the key's.
    """
    group, _, last = wrong.rpartition(".")
    ranked = []
    for name, less in [*((name, 0.0) for name in names), *((name, 0.15) for name in others)]:
        its_group, _, its_last = name.rpartition(".")
        likeness = _likeness(last, its_last)
        if likeness < ALIKE or its_last.startswith("_"):
            continue
        near = SequenceMatcher(None, group, its_group).ratio()
        elsewhere = near < ALIKE and not f"{its_group}.".startswith(f"{group}.")
        if group and elsewhere and likeness < INITIALS:
            continue
        if less and its_group != group and its_last != last:
            continue
        ranked.append((likeness - less, its_group == group, near, name))
    ranked.sort(key=lambda rank: (-rank[0], -rank[1], -rank[2], rank[3]))
    return [name for *rank, name in ranked if rank[:2] == list(ranked[0][:2])][:3]


def _likeness(wrong: str, name: str) -> float:
    """From 0 to 1: of the same words, of initials, of some of the words, of letters."""
    words, its_words = wrong.split("_"), name.split("_")
    if wrong == name:
        return 1.0
    if wrong == _initials(its_words) or _initials(words) == name:
        return INITIALS
    if len(wrong) > 2 and ({*words} < {*its_words} or {*words} > {*its_words}):
        return 0.9 - 0.02 * abs(len(its_words) - len(words))
    begins = 0.8 if len(wrong) > 2 and name.startswith(wrong) else 0.0
    return max(begins, SequenceMatcher(None, wrong, name).ratio())


def _initials(words: Iterable[str]) -> str:
    """Of at least two words: one letter says too little."""
    letters = "".join(word[:1] for word in words)
    return letters if len(letters) > 1 else ""
