"""Start a training from a language model: its tokenizer, embedding and encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from seqmodels.data import DataModule
from seqmodels.data.token_inputs import Tokens
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.plain_values import flattened
from seqmodels.runs.finished import load_run


def load_start(
    model: Mapping[str, Any], data: DataModule, allowed_targets: Iterable[str] = ()
) -> Task | None:
    """The language model that `model.training.start` names, if it names one; `data` encodes with
    its tokenizer from now on.

    Args:
        model: the configuration of the model that is to start from it.
        data: before its `setup`.

    Raises:
        UserError: if it is not the run of a language model, or if its tokenizer or its sizes differ
            from the configuration's.
    """
    folder = (model.get("training") or {}).get("start")
    if folder is None:
        return None
    where = f"model.training.start={folder}"
    run = load_run(folder, allowed_targets=tuple(allowed_targets))
    if not run.task.can_start_others:
        raise UserError(f"{where} is the run of a {run.result['task']}, not of a language model")
    _share_tokenizer(data, run.data.spec, where)
    encoder = run.task.encoder
    sizes = {
        "encoder.cell": encoder.cell,
        "encoder.hidden_size": encoder.rnn.hidden_size,
        "encoder.num_layers": encoder.num_layers,
        "encoder.proj_size": encoder.rnn.proj_size,
        "embedding.size": encoder.rnn.input_size,
    }
    given = flattened(model)
    if wrong := [f"model.{key}={size}" for key, size in sizes.items() if given.get(key) != size]:
        raise UserError(f"{where} has other sizes: set {' '.join(wrong)}")
    return run.task


def _share_tokenizer(data: DataModule, spec: Mapping[str, Any], where: str) -> None:
    inputs, how = getattr(data, "inputs", None), spec.get("tokenizer_options")
    if not isinstance(inputs, Tokens) or how is None:
        raise UserError(f"{where}: {type(data).__name__} cannot start from a language model")
    if inputs.vectors_from is not None:
        raise UserError(f"{where} has an embedding already: leave out data.vectors")
    if inputs.spells:
        raise UserError(f"{where} has an encoder of words alone: leave out data.characters")
    options, mine = TokenizerOptions(**how), inputs.options
    if (options.level, options.lowercase) != (mine.level, mine.lowercase):
        raise UserError(
            f"{where} has another tokenizer: set data.tokenizer={options.level} "
            f"data.lowercase={str(options.lowercase).lower()}"
        )
    inputs.use(spec["tokenizer"], options)
