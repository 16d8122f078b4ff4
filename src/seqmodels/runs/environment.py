"""Where a run took place: commit, versions, device."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from seqmodels.installation import git, version

PACKAGES = ("lightning", "torchmetrics", "hydra-core", "pandas", "pyarrow", "tokenizers")


def environment(device: str) -> dict[str, Any]:
    """Git commits and whether the trees have changes, versions, device, threads."""
    return {
        # The commits of the project that you stand in, and of this package, where it is a checkout.
        "git": {"project": _git(Path.cwd()), "seqmodels": _git(Path(__file__))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        # PyTorch's metadata can lack its build, such as +cu132 or +cpu.
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
    folder = place if place.is_dir() else place.parent
    try:
        if place.is_file():
            # In a `.venv`, it lies in a project whose repository doesn't hold it: an error.
            git(folder, "ls-files", "--error-unmatch", place.name)
        commit = git(folder, "rev-parse", "HEAD")
        changes = git(folder, "status", "--porcelain")
        return {"commit": commit, "dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return None
