"""Use a trained model elsewhere: as an ONNX graph."""

from __future__ import annotations

from pathlib import Path

from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.export.graph import write_graph
from seqmodels.files import write_json
from seqmodels.installation import require


def export(task: Task, folder: Path) -> None:
    """Writes a task into a folder, which is made if it is not there: `model.onnx`, and
    `model.json`, which holds what else a server needs: the arguments of the task, with the names of
    classes or values, their scale, and the options of the encoder and what it was fitted to.

    Raises:
        UserError: without the extra `export`, for a folder that cannot be written to, or for a task
            that cannot be exported, with the reason.
    """
    require("onnxscript", "an export", "export")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    reads, decision = list(task.head.reads), task.decision()
    facts = {"task": type(task).__name__, "reads": reads, "decision": decision, **task.hparams}
    write_graph(task, folder / "model.onnx", facts)
    write_json(folder / "model.json", facts)
