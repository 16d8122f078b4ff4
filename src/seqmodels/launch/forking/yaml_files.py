"""Configuration files, read and cut line by line, so that what is left stays as it was written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from seqmodels.launch.forking.prose import Mentions, sentences


class Config:
    """What one configuration file names.

    Args:
        file: its path in the project.
        text: its content.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text
        self.targets = re.findall(r"^ *(?:- )?_target_: (\S+)", text, flags=re.MULTILINE)
        own = re.search(
            r"^_target_: (\S+)|^model:\n(?:  .*\n)*?  _target_: (\S+)", text, re.MULTILINE
        )
        self.target = next(filter(None, own.groups()), None) if own else None

    def includes(self, files: Mapping[str, str]) -> list[str]:
        """The files that its defaults list names."""
        folder, found = PurePosixPath(self.file).parent, []
        entries = re.findall(r"^  - (.+?)(?: #.*)?$", self.text, flags=re.MULTILINE)
        for entry in entries:
            name = entry.removeprefix("override ").partition("@")[0].replace(": ", "/")
            root = PurePosixPath("configs") if name.startswith("/") else folder
            path = f"{root / name.lstrip('/')}.yaml"
            found += [path] if path in files and self.text.startswith(("defaults", "#")) else []
        return found


def without_mentions(text: str, mentions: Mentions, choices: Mapping[str, set[str]]) -> str:
    """The text without keys that are only about it, choices that are gone, and comments on it.

    A comment that begins with it, as in `dynamic: false # language models: ...`, marks its key.
    """
    lines = []
    for line in text.splitlines():
        content, hash_sign, comment = _split(line)
        group = re.match(r" *- (?:override /)?(\w+):|\s*(\w+):", content)
        gone = choices.get((group[1] or group[2]) if group else "", set())
        comment = re.sub(rf"(?<!\w)(?:{'|'.join(gone) or '(?!)'})(?:[,;] |(?!\w))", "", comment)
        comment = re.sub(r"[,;] *$", "", comment)
        mark = re.match(r"[\w -]+:", comment)
        if mentions(content) or (content.strip() and mark and mentions(mark[0])):
            continue
        kept = sentences(comment, mentions)
        if hash_sign and not kept.strip():
            hash_sign = ""
            if not content.strip():
                continue
        lines.append(f"{content}{hash_sign}{kept}" if hash_sign else content.rstrip())
    return "\n".join(lines) + "\n"


def _split(line: str) -> tuple[str, str, str]:
    found = re.match(r"(.*?(?:^|\s))(#)(.*)$", line)
    return (found[1], found[2], found[3]) if found else (line, "", "")
