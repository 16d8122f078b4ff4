"""Whether a run sees all of its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def on_whole_splits(config: Mapping[str, Any]) -> bool:
    """Whether a run trains and tests on all of its splits; False with `debug`."""
    limits = (config.get(f"trainer.limit_{split}_batches") for split in ("train", "val", "test"))
    whole = all(limit is None or (isinstance(limit, float) and limit == 1) for limit in limits)
    return whole and not any(
        config.get(f"trainer.{k}") for k in ("overfit_batches", "fast_dev_run")
    )
