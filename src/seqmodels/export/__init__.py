"""Use a trained model elsewhere: as an ONNX graph."""

from __future__ import annotations

import hashlib
from pathlib import Path

from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.export.graph import write_graph
from seqmodels.files import write_json, write_text
from seqmodels.installation import require

SCRIPT = Path(__file__).with_name("predict.txt")


def export(task: Task, folder: Path) -> None:
    """Writes a task into a folder, which is made if it is not there: `model.onnx`; `model.json`,
    which holds what else is needed, such as the names of the classes and the preprocessing; and
    `predict.py`, which runs it with numpy and onnxruntime alone.

    Raises:
        UserError: without the extra `export`, for a folder that cannot be written to, or for a task
            that cannot be exported, with the reason.
    """
    require("onnxscript", "an export", "export")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    facts = {
        "task": type(task).__name__,
        "head": task.head.name,
        "reads": list(task.head.reads),
        "fingerprint": weights_fingerprint(task),
        "decision": task.decision(),
        "preprocessing": task.hparams["data"],
    }
    write_graph(task, folder / "model.onnx", facts)
    write_json(folder / "model.json", facts)
    encode = "def encode(inputs):\n    return inputs"
    script = SCRIPT.read_text(encoding="utf-8").replace("# ENCODE", encode)
    write_text(folder / "predict.py", script.replace("# PREDICT", task.in_numpy.strip()))


def weights_fingerprint(task: Task) -> str:
    """A hash of all weights: equal if and only if they are."""
    digest = hashlib.sha256()
    for name, weights in sorted(task.state_dict().items()):
        values = weights.detach().cpu().float().numpy()
        digest.update(f"{name} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()
