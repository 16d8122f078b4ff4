"""What an export of a language model holds."""

from __future__ import annotations

from pathlib import Path

from seqmodels.export import export
from seqmodels.tasks.language_model import LanguageModel
from seqmodels.tasks.language_model.generation import _generate
from tests.export.test_export import TOKENS, predicted, task


def test_the_script_continues_as_the_language_model(tmp_path: Path) -> None:
    model = task(LanguageModel, TOKENS, "softmax", {"cell": "gru"})
    export(model, tmp_path)
    steps = _generate(model, [3, 4, 5], 20, 0.0, None, None, 0, None)
    assert predicted(tmp_path, [[3, 4, 5]]) == [{"continued": [*steps]}]
