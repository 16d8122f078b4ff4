"""Refuse a choice of files that loses, without a word, what every run needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqmodels.errors import UserError
from seqmodels.plain_values import read_yaml

# The file of each group that holds what every run needs. Hydra's `callbacks=ema` replaces it, where
# most people mean to add to it.
DEFAULT_FILES = {"callbacks": "default", "trainer": "auto"}
MOST_NAMES = 6  # to list in an error


def check_defaults_kept(config: DictConfig, words: Sequence[str], configs: Path) -> None:
    """Make sure that a configuration of `configs/train.yaml` has every name that the default files
    of `callbacks` and `trainer` have. A name that is null is there: somebody left it out on
    purpose, as with a word such as `~callbacks.progress`. A resume takes these groups from the
    run's folder, so it is not checked.

    Args:
        words: of the command line, to show how to write the one that replaces a group.
        configs: the folder with our own files.

    Raises:
        UserError: with the names that would be lost, and the word that keeps them.
    """
    if config.get("resume") is not None:
        return
    deleted_keys = {word.lstrip("~").partition("=")[0] for word in words if word.startswith("~")}
    for group, default_file in DEFAULT_FILES.items():
        default_values: dict[str, Any] = read_yaml(configs / group / f"{default_file}.yaml")
        if group in config and config[group] is None:
            continue  # a file says `callbacks: null`
        kept_names = config.get(group, {}).keys()
        lost_names = [
            name
            for name in default_values
            if name not in kept_names and f"{group}.{name}" not in deleted_keys
        ]
        if lost_names:
            raise UserError(_advice(group, default_file, lost_names, words))


def _advice(group: str, default_file: str, lost_names: Sequence[str], words: Sequence[str]) -> str:
    names = ", ".join(lost_names[:MOST_NAMES])
    if len(lost_names) > MOST_NAMES:
        names += ", ..."
    lost = f"leaves out {names}, which {group}={default_file} has"
    choosing_words = [word for word in words if word.lstrip("+").startswith(f"{group}=")]
    if group == "trainer":
        word = choosing_words[0] if choosing_words else "your configuration"
        return f"{word} {lost}: begin your file with `defaults: [{default_file}, _self_]`"

    leave_out = f"to leave one out, set it to null, as in {group}.{lost_names[-1]}=null"
    if not choosing_words:
        return (
            f"a file that you chose replaces {group}={default_file} and {lost}: write `override "
            f"/{group}: [{default_file}, ...]` there; {leave_out}"
        )
    word = choosing_words[0].lstrip("+")
    if word.partition("=")[2] in ("", "[]"):
        return f"{word} {lost}: leave out this word; {leave_out}"
    return f"{word} {lost}: write +{word} to add to them; {leave_out}"
