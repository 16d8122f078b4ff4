"""Errors the user can fix, and which name was probably meant by a wrong one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher, get_close_matches

MOST_NAMES = 50  # to list in an error
ALIKE, INITIALS = 0.65, 0.95  # of a name and a wrong one, from 0 to 1


class UserError(ValueError):
    """One line: what is wrong, where, and what to do. Scripts print it and exit with status 2."""


def choices(wrong: str, names: Iterable[str]) -> str:
    """`choose one of a, b, c; did you mean b?`"""
    names = set(names)
    near = closest(str(wrong), names)
    end = f"; did you mean {shown(near)}?" if near else ""
    return f"choose one of {listed(names)}{end}"


def listed(names: Iterable[str]) -> str:
    """`a, b, c`; of very many names, the first."""
    ordered = sorted(set(names))
    return ", ".join(map(shown, ordered[:MOST_NAMES])) + ", ..." * (len(ordered) > MOST_NAMES)


def shown(text: str) -> str:
    """A text out of a file as part of an error: escaped, and cut at 80 characters."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= 80 else f"{line[:77]}..."


def one_line(error: BaseException) -> str:
    """An exception's message on one line, cut at 300 characters; a UserError's is never cut."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 or isinstance(error, UserError) else text[:297] + "..."


@contextmanager
def refusing(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Says in one line what a library refuses.

    Raises:
        UserError: for an error of these kinds, after the words `what`.
    """
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        raise UserError(f"{what}: {one_line(error)}") from error


@contextmanager
def unusable(what: str) -> Iterator[None]:
    """Says in one line that a file or folder of others cannot be used: it may hold anything.

    Raises:
        UserError: for an error of any other kind, after the words `what`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} ({type(error).__name__}: {one_line(error)})") from error


def unknown_key(key: str, names: Iterable[str], meant: Sequence[str] | None = None) -> str:
    """`sed is not a key of the configuration: did you mean seed?`

    Args:
        names: the dotted keys that there are.
        meant: the names to suggest; None: the names that are most like the key.
    """
    names = set(names)
    near = nearest(key, sorted(names)) if meant is None else meant
    if near:
        return f"{shown(key)} is not a key of the configuration: did you mean {' or '.join(near)}?"
    group = key
    while group and not any(name.startswith(f"{group}.") for name in names):
        group = group.rpartition(".")[0]
    prefix = f"{group}." if group else ""
    inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    level = {prefix + name.partition(".")[0] for name in inside if not name.startswith("_")}
    return f"{shown(key)} is not a key of the configuration: choose one of {listed(level)}"


def not_a_task(target: object) -> UserError:
    """What `model._target_` may be, for another class."""
    return UserError(
        f"model._target_={shown(str(target))} is not a task: choose a subclass of "
        "seqmodels.engine.Task, such as seqmodels.tasks.SequenceClassifier"
    )


def missing_value(key: str) -> str:
    """`run must be given: add run=<value>`"""
    return f"{key} must be given: add {key}=<value>"


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
