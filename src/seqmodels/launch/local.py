"""What this machine's own configuration says to commands without Hydra."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omegaconf import OmegaConf

from seqmodels.errors import UserError, unusable


def local_cache(folders: Iterable[Path]) -> str | None:
    """Return `paths.cache` of the first `local/default.yaml` in these folders, if there is one.

    Raises:
        UserError: if the file is broken, or it is not a path.
    """
    for file in (folder / "local" / "default.yaml" for folder in folders):
        if file.is_file():
            with unusable(f"{file} cannot be read"):
                cache = OmegaConf.select(OmegaConf.load(file), "paths.cache")
            if cache is not None and not isinstance(cache, str):
                raise UserError(f"{file}: paths.cache={cache}: set it to a folder, or null")
            return cache
    return None
