"""Use a trained model elsewhere: as an ONNX graph, or as its weights with their configuration."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqmodels.arguments import argument_names
from seqmodels.data.inputs import load_inputs
from seqmodels.engine import Task
from seqmodels.errors import UserError, choices
from seqmodels.export.to_onnx import write_onnx
from seqmodels.files import write_json, write_text
from seqmodels.installation import how_to_install

OPTIONS_AND_FITTED = """PREPROCESSOR = KNOWN["preprocessing"]["preprocessor"]
OPTIONS, FITTED = PREPROCESSOR["options"], PREPROCESSOR["fitted"]"""
SCRIPT = Path(__file__).with_name("predict.txt")


def export(task: Task, folder: Path, format: str = "onnx") -> None:
    """Writes a task into a folder, which is made if it is not there.

    Args:
        format: `onnx`: `model.onnx`, and `predict.py`, which runs it with numpy and onnxruntime
            alone. `safetensors`: `model.safetensors`, the weights. Beside each, `model.json` holds
            what else is needed, such as the names of the classes and the preprocessing.

    Raises:
        UserError: for an unknown format, a package that is not installed, a folder that cannot be
            written to, or a task that cannot be exported, with the reason.
    """
    if format not in FORMATS:
        raise UserError(f"format={format}: {choices(format, FORMATS)}")
    write, packages = FORMATS[format]
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        needs = " and ".join(", ".join(missing).rsplit(", ", 1))
        raise UserError(f"format={format} needs {needs}: {how_to_install('export')}")
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
    write(task, folder, facts)
    write_json(folder / "model.json", facts)


def weights_fingerprint(task: Task) -> str:
    """A hash of all weights: equal if and only if they are."""
    digest = hashlib.sha256()
    for name, weights in sorted(task.state_dict().items()):
        values = weights.detach().cpu().float().numpy()
        digest.update(f"{name} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def _write_graph(task: Task, folder: Path, facts: dict[str, Any]) -> None:
    write_onnx(task, folder / "model.onnx", facts)
    encode = "def encode(inputs):\n    return inputs"
    if state := facts["preprocessing"].get("preprocessor"):
        encode = f"{OPTIONS_AND_FITTED}\n{load_inputs(state).in_numpy}"
    script = SCRIPT.read_text(encoding="utf-8").replace("# ENCODE", encode)
    write_text(folder / "predict.py", script.replace("# PREDICT", task.in_numpy.strip()))


def _write_weights(task: Task, folder: Path, facts: dict[str, Any]) -> None:
    from safetensors.torch import save_model  # which saves a shared tensor once

    # load them into `instantiate(facts["model"], data=facts["preprocessing"])`
    takes = argument_names(type(task)) or task.hparams
    options = {name: task.hparams[name] for name in takes if name in task.hparams}
    options.pop("data", None)
    target = f"{type(task).__module__}.{type(task).__qualname__}"
    facts["model"] = {"_target_": target, "_recursive_": False, **options}
    save_model(task, str(folder / "model.safetensors"), {"model": json.dumps(facts["model"])})


FORMATS: dict[str, tuple[Callable[[Task, Path, dict[str, Any]], None], tuple[str, ...]]] = {
    "onnx": (_write_graph, ("onnx", "onnxscript", "onnxruntime")),
    "safetensors": (_write_weights, ("safetensors",)),
}
"""How to write each, and the packages that it needs."""
