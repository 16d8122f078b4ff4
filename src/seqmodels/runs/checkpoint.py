"""Checkpoints, read without running code from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from seqmodels.errors import UserError, one_line


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU, loaded without running code from it.

    Raises:
        UserError: if it is absent, broken, or holds more than plain values.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if "state_dict" not in content or "hyper_parameters" not in content:
            raise ValueError("it holds no state_dict and hyper_parameters")
    except Exception as error:  # torch raises many kinds on a broken file
        raise UserError(
            f"{path} is not a usable checkpoint ({one_line(error)}); "
            "it may be cut off: take another one, such as last.ckpt beside best.ckpt"
        ) from error
    return content
