"""What an export of a language model holds."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_model

from seqmodels.export import export
from seqmodels.instantiate import instantiate
from seqmodels.tasks.language_model import LanguageModel
from seqmodels.tasks.language_model.generation import _generate
from tests.export.test_export import TOKENS, predicted, task


def test_the_script_continues_as_the_language_model(tmp_path: Path) -> None:
    model = task(LanguageModel, TOKENS, "softmax", {"cell": "gru"})
    export(model, tmp_path)
    steps = _generate(model, [3, 4, 5], 20, 0.0, None, None, 0, None)
    assert predicted(tmp_path, [[3, 4, 5]]) == [{"continued": [*steps]}]


def test_weights_and_configuration_make_the_task_again(tmp_path: Path) -> None:
    optimizer = {"_target_": "torch.optim.AdamW", "lr": 0.1}
    # with a tensor that two modules share
    model = task(LanguageModel, TOKENS, "tied_softmax", optimizer=optimizer)
    export(model, tmp_path, "safetensors")
    facts = json.loads((tmp_path / "model.json").read_text())
    again = instantiate(facts["model"], key="model", data=facts["preprocessing"])
    load_model(again, tmp_path / "model.safetensors")
    assert again.head.output.project.weight is again.embedding.weight
    assert all(torch.equal(v, again.state_dict()[name]) for name, v in model.state_dict().items())
