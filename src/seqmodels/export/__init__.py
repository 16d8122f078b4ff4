"""Use a trained model elsewhere: as an ONNX graph."""

from __future__ import annotations

import logging
from pathlib import Path

from seqmodels.engine import Task
from seqmodels.errors import UserError, refusing, unusable
from seqmodels.export.encoder import INSTEAD
from seqmodels.export.graph import example_inputs, make_graph
from seqmodels.export.reference import reference_rows
from seqmodels.files import write_json, written_whole
from seqmodels.installation import require

log = logging.getLogger(__name__)


def export(task: Task, folder: Path, *, stream: bool = False) -> None:
    """Writes a task into a folder, which is made if it is not there: `model.onnx`, and
    `model.json`, which holds what else a server needs: the arguments of the task, with the names of
    classes or values, their scale, and the options of the encoder and what it was fitted to; and
    three rows with their logits, by which a server can check its runtime.

    Args:
        stream: carry the state from call to call, as `make_graph` says.

    Raises:
        UserError: without the extra `export`, for a folder that cannot be written to, or for a task
            that cannot be exported, with the reason.
    """
    require("onnxscript", "an export", "export")
    network = task.network
    if task.contract.kind.decoder:
        raise UserError(f"a graph cannot hold a decoder, which writes until it is done: {INSTEAD}")
    data = task.hparams["data"]
    with unusable(f"{type(task).__name__} cannot be traced, {INSTEAD}"):
        graph = make_graph(network, example_inputs(data), stream=stream)
    facts = {
        "task": type(task).__name__,
        "reads": list(network.head.reads),
        # Only an output that decides on all steps together has one.
        "decision": getattr(network.head.output, "decision", dict)(),
        **task.hparams,
        "reference": reference_rows(network, data),
    }
    with refusing(f"cannot write to {folder}", OSError):
        folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / "model.onnx") as file:
        file.write(graph.model_proto.SerializeToString())
    write_json(folder / "model.json", facts)
    if network.window is not None:
        log.warning(
            "the graph reads up to model.window=%d steps, and answers nan for longer rows: for "
            "those, train with model.window=null",
            network.window,
        )
