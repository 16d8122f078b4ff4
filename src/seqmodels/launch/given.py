"""Tell the values that a command line gives from those that are the defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from seqmodels.files import flattened


def given_values(config: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what `overrides` change, by dotted key, a chosen file such as `trainer=cpu` included.

    Args:
        config: composed by Hydra with these overrides; Hydra is still running.
        overrides: those of the command line.
    """
    paths = [o for o in overrides if o.startswith(("resume=", "folder=", "imports="))]
    defaults = flattened(OmegaConf.to_container(compose("train", paths), resolve=True))
    values = flattened(OmegaConf.to_container(config, resolve=True))
    named = {override.lstrip("+").partition("=")[0] for override in overrides}
    return {k: v for k, v in values.items() if k in named or defaults.get(k, _ABSENT) != v}


_ABSENT = object()
