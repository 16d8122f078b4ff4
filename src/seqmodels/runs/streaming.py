"""A finished run that reads rows some steps at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqmodels.data import DataModule
from seqmodels.data.sources import has_names, raw_inputs
from seqmodels.engine import Task
from seqmodels.errors import UserError, refusing


class Stream:
    """Reads rows some steps at a time, and carries the state from call to call.

        stream = load_run("runs/mine").stream()
        stream([first_steps])  # what `predict` gives for these steps
        stream([next_steps])  # what it gives for both
        stream.reset()  # new rows

    It reads `batch_size` rows side by side. Raises UserError for a model, or an encoding of its
    data, that needs whole rows.
    """

    def __init__(self, task: Task, data: DataModule, batch_size: int = 1) -> None:
        task.network.check_streams(data.reads_whole_rows())
        self.task, self.data, self.batch_size = task.eval(), data, batch_size
        self.reset()

    def reset(self) -> None:
        """Begins new rows."""
        self.carried: tuple[Tensor, ...] = ()
        self.kept: dict[str, Any] = {}  # The data keeps here what its next steps need.

    def __call__(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """Reads the next steps of each row, and gives what `Run.predict` gives for all its steps so
        far; where there is a decision for each step, those of the steps just read.

        Args:
            rows: `batch_size` raw inputs, as `Run.predict` takes them. Each is encoded by itself,
                so cut texts between words; a forecaster takes arrays `(t, columns)`. Of a
                table, they may be DataFrames with the next steps of each row.
        """
        if len(rows) != self.batch_size:
            raise UserError(
                f"this stream reads {self.batch_size} at a time, and the rows are {len(rows)}: set "
                "batch_size"
            )
        with refusing("the stream can't read these rows", TypeError, AttributeError, ValueError):
            if self.data.reads_tables and has_names(rows):
                rows = [*raw_inputs(self.data, rows, "the stream")]
            batch = self.task.ready(self.data.batch_of_steps(rows, self.kept))
        self.data.warn()
        with torch.no_grad():
            states, self.carried = self.task.network.carry(batch, self.carried)
            described = self.task.describe(batch, states)
        return [*self.data.described(rows, described)]
