"""Made-up runs to compare."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from seqmodels.compare.comparison import Comparison, compare
from seqmodels.compare.tables import comparison_table


class Runs:
    """Folders of made-up runs, and what `compare` makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        head: str,
        seed: int = 0,
        accuracy: float = 0.5,
        *,
        folder: str = "sweep",
        status: str = "completed",
        fingerprint: str = "abc",
        metrics: Mapping[str, float] | None = None,
        result: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> Path:
        """The folder of a run; `metrics`, `result` and `config` come on top of the usual ones."""
        number = len(list(self.folder.rglob("result.json")))
        path = self.folder / folder / f"{number}_{head}_seed{seed}"
        path.mkdir(parents=True)
        encoder = {"cell": "lstm", "num_layers": 1, "hidden_size": 8}
        content = {
            "status": status,
            "error": None if status == "completed" else "ValueError: no luck",
            "data": "Vowels",
            "fingerprint": fingerprint,
            "head": head,
            "seed": seed,
            "config": {
                "seed": seed,
                "folder": str(path),
                "model": {"head": head, "encoder": encoder},
                "data": {"seed": seed},
                "callbacks": {"checkpoint": {"dirpath": f"{path}/checkpoints"}},
                **config,
            },
            "metric": "accuracy",
            "parameters": 1234,
            "metrics": {"test/accuracy": accuracy, "test/loss": 1 - accuracy, **(metrics or {})},
            "seconds": {"fit": 2.5},
            "examples_per_second": 1000.0,
            **(result or {}),
        }
        (path / "result.json").write_text(json.dumps(content))
        (path / "metrics.csv").write_text(
            "epoch,step,validation/loss\n" + "".join(f"{e},{e},{1 / (e + 1)}\n" for e in range(4))
        )
        return path

    def add_seeds(self, head: str, accuracies: Iterable[float], **more: Any) -> None:
        """A run for each accuracy, of the seeds 0, 1, ..."""
        for seed, accuracy in enumerate(accuracies):
            self.add(head, seed, accuracy, **more)

    def compare(self, metric: str | None = None, **options: Any) -> Comparison:
        return compare([str(self.folder)], metric, **options)


def printed(comparison: Comparison, width: int = 140) -> str:
    """The table in a terminal of so many columns."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(comparison_table(comparison, console))
    return capture.get()


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """`runs.add("max_pool", seed=1, accuracy=0.9)` makes one; `runs.compare()` compares all."""
    return Runs(tmp_path)


@pytest.fixture
def sweep(runs: Runs) -> Runs:
    """Three heads, five seeds: the last is clearly worse, the first two cannot be told apart."""
    for head, mean, luck in (
        ("max_pool", 0.91, [0.01, -0.01, 0.0, 0.02, -0.02]),
        ("mean_pool", 0.905, [-0.01, 0.02, -0.015, 0.015, -0.01]),
        ("last_hidden", 0.7, [0.0, 0.01, -0.02, 0.01, 0.0]),
    ):
        runs.add_seeds(head, [mean + deviation for deviation in luck])
    return runs
