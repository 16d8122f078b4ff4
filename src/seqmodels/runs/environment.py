"""Where a run took place: commit, versions, device."""

from __future__ import annotations

import platform
import subprocess
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from seqmodels.installation import git, version

PACKAGES = ("lightning", "torchmetrics", "hydra-core", "sktime", "pyarrow", "tokenizers")


def environment(device: str) -> dict[str, Any]:
    """Git commits and whether the trees have changes, versions, device, threads."""
    return {
        # of the project that you stand in, and of this package, where it is a checkout
        "git": {"project": _git(Path.cwd()), "seqmodels": _git(Path(__file__))},
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


def _git(place: Path) -> dict[str, Any] | None:
    """The commit of the repository that a folder lies in, or that holds a file; None without it."""
    asked = partial(git, place if place.is_dir() else place.parent)
    try:
        if place.is_file():  # in a `.venv` it lies in a project that does not hold it
            asked("ls-files", "--error-unmatch", place.name)
        return {"commit": asked("rev-parse", "HEAD"), "dirty": bool(asked("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None
