"""Where a run took place: commit, versions, device."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from seqmodels.installation import version

PACKAGES = ("lightning", "torchmetrics", "hydra-core", "sktime", "datasets", "tokenizers")


def environment(device: str) -> dict[str, Any]:
    """Git commit and whether the tree has changes, versions, device, threads."""
    return {
        "git": _git(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        # PyTorch's metadata can lack its build, such as +cu132 or +cpu
        "packages": {
            "torch": str(torch.__version__),
            "seqmodels": version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "device": device,
        "threads": torch.get_num_threads(),
    }


def _git() -> dict[str, Any] | None:
    # of the project that is run, which is where this file's checkout is; None outside of one
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None
