"""What an export holds: the same numbers in onnxruntime, the same decisions without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from seqmodels import tasks
from seqmodels.batch import SequenceBatch
from seqmodels.data.inputs import InputEncoder
from seqmodels.data.loading import collate
from seqmodels.data.series_inputs import Series
from seqmodels.data.tokenizer import TokenizerOptions
from seqmodels.data.tokens import Tokens, Words
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.export import export
from seqmodels.export.graph import example
from seqmodels.heads import Head
from seqmodels.nn.cell import Cell
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.state import parts_of
from seqmodels.tasks import (
    Forecaster,
    Regressor,
    SequenceClassifier,
    Tagger,
)
from tests.shipped import DECODER_HEADS, LANGUAGE_HEADS

TOKENS = {"inputs": "tokens", "num_inputs": 30}
FEATURES = {"inputs": "features", "num_inputs": 3}
CLASSES = {"classes": ["a", "b", "c"]}
CLASSIFIER = (SequenceClassifier, TOKENS | CLASSES)
VALUES = {"values": ["a", "b"], "mean": [1.0, 2.0], "deviation": [2.0, 3.0]}
WINDOWS = {
    **{"inputs": "features", "num_inputs": 2, "values": ["a", "b"], "horizon": 3, "window": 5},
    **{"period": 2, "series": ["s", "t"], "mean": [[0.0, 1.0], [2.0, 3.0]]},
    **{"deviation": [[1.0, 2.0], [3.0, 4.0]], "naive_error": [[1.0, 1.0], [1.0, 1.0]]},
}
SIZES = ((1, 1), (7, 1), (3, 5), (7, 19))  # B and T: 3 and 5 are traced


def task(
    kind: type[Task], data: dict[str, Any], head: str, encoder: Any = None, **own: Any
) -> Task:
    torch.manual_seed(0)
    made = kind(data, {"hidden_size": 7, **(encoder or {})}, head, **own).eval()
    for name, weights in made.named_parameters():
        if name.endswith(("starts", "transitions", "ends")):  # of a CRF, which begins with zeros
            torch.nn.init.normal_(weights)
    return made


def ragged(made: Task, batch: int, time: int) -> tuple[torch.Tensor, ...]:
    """Inputs of different lengths, at least one of them full, padded with what must not count."""
    torch.manual_seed(batch * time)
    shape, *parts = (each.shape for each in (example(made)[0], *example(made)[2:]))
    characters = [] if made.characters is None else [2 + time]  # the word is one of them
    inputs = torch.randint(0, 9, (batch, time, *characters))
    if example(made)[0].is_floating_point():
        inputs = torch.randn(batch, time, *shape[2:])
    lengths = torch.randint(1, time + 1, (batch,))
    lengths[-1] = time
    return inputs, lengths, *(torch.randn(part[0], batch, part[2]) for part in parts)


def ours(
    made: Task, inputs: torch.Tensor, lengths: torch.Tensor, *state: torch.Tensor
) -> list[Any]:
    with torch.no_grad():
        if not state:
            return [made.as_function()(inputs, lengths)]
        logits, after = made.as_function()(inputs, lengths, state if len(state) == 2 else state[0])
        return [logits, *parts_of(after)]


BOTH = {"bidirectional": True, "num_layers": 2}
CONVOLUTIONS = {"convolutions": [7, 4], "channels": 6}
LANGUAGE: list[Callable[[], Task]] = [
    lambda: task(tasks.LanguageModel, TOKENS, "tied_softmax", {"num_layers": 2})
] * bool(LANGUAGE_HEADS)
NETWORKS: list[Callable[[], Task]] = [
    lambda: task(SequenceClassifier, TOKENS | CLASSES, "last_hidden"),
    lambda: task(SequenceClassifier, TOKENS | CLASSES, "attention_pool", BOTH | {"cell": "gru"}),
    lambda: task(SequenceClassifier, FEATURES | CLASSES, "concat_pool", BOTH | {"cell": "rnn"}),
    lambda: task(Tagger, TOKENS | CLASSES, "every_step", BOTH, output={"kind": "crf"}),
    lambda: task(
        Tagger,
        TOKENS | CLASSES | {"num_characters": 9},
        "every_step",
        embedding={"characters": "lstm"},
    ),
    lambda: task(Regressor, FEATURES | VALUES, "max_pool", output={"quantiles": [0.1, 0.5]}),
    lambda: task(Regressor, FEATURES | VALUES, "concat_pool", BOTH, embedding=CONVOLUTIONS),
    lambda: task(Forecaster, WINDOWS, "every_step", {"cell": "gru", "num_layers": 2}),
    lambda: task(
        *(Forecaster, WINDOWS, "mean_pool"),
        **{"base": "linear", "instance_norm": "standard"},
        **{"segment": 2, "channel_independent": True},
    ),
    *LANGUAGE,
]


@pytest.mark.parametrize("made", NETWORKS)
def test_onnxruntime_gives_the_same_on_any_batch(made: Callable[[], Task], tmp_path: Path) -> None:
    model = made()
    export(model, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = [each.name for each in session.get_inputs()]
    for batch, time in SIZES:
        given = ragged(model, batch, time)
        found = session.run(None, dict(zip(names, (each.numpy() for each in given), strict=True)))
        for wanted, got in zip(ours(model, *given), found, strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5, rtol=0)


WITHOUT = """import runpy, sys
class Refuse:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in sys.argv[1].split():
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
runpy.run_path(sys.argv[2], run_name="__main__")
"""


def run_without(packages: str, script: Path, input: str = "") -> list[str]:
    """The lines that a script prints in a process that cannot import these packages."""
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, packages, str(script)],
        input=input,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def predicted(folder: Path, rows: list[Any]) -> list[Any]:
    """What the script of an export prints for encoded inputs, without torch and this package."""
    given = "".join(json.dumps(row, default=np.ndarray.tolist) + "\n" for row in rows)
    lines = run_without("torch lightning seqmodels", folder / "predict.py", given)
    return [json.loads(line) for line in lines]


TEXTS = [
    "A fine\tfilm, it's fine... 10² ﬁlms?!",
    "unseen ΟΔΟΣ cafe\u0301 naïve नमस्ते می\u200cروم x_1 ½",
    ".",
]
SMALL = TokenizerOptions(lowercase=True)
WORDS = [["A", "fine", "film"], ["unseen", "Ünbelievably" * 3, "film", "[PAD]"]]
SERIES = [np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]]), np.array([[-3.0, 0.5]])]


@pytest.mark.parametrize(
    ("encoder", "raw"),
    [
        (Tokens(), TEXTS),
        (Tokens(SMALL, max_length=4, keep="end"), TEXTS),
        (Tokens(TokenizerOptions("space"), max_length=2), [*TEXTS, "[PAD] film"]),
        (Tokens(TokenizerOptions("char", min_count=2)), TEXTS),
        (Tokens(TokenizerOptions("char", lowercase=True), max_length=3), ["İaΣ ΑΣ", "İİ"]),
        (Tokens(TokenizerOptions("space", min_count=2), characters=True), TEXTS),
        (Tokens(SMALL, max_length=4, keep="end", characters=True), TEXTS),
        (Words(lowercase=True), WORDS),
        (Words(characters=True, min_count=2), WORDS),
        *((Series(scale=scale), SERIES) for scale in ("split", "series", "both", "none")),
    ],
)
def test_the_script_encodes_as_the_data_does(encoder: InputEncoder, raw: list[Any]) -> None:
    encoder.fit(raw[:1])
    state = json.loads(json.dumps(encoder.state()))
    names = {"np": np, "json": json, "OPTIONS": state["options"], "FITTED": state["fitted"]}
    exec(encoder.in_numpy, names)
    for given, wanted in zip(raw, encoder.encode(raw, "raw"), strict=True):
        plain = given.tolist() if isinstance(given, np.ndarray) else given
        found = torch.as_tensor(names["encode"](plain)).to(wanted.dtype)  # type: ignore[operator]
        if found.dim() > 1:  # perhaps with padding after the characters of each word
            found, rest = found.tensor_split([wanted.shape[1]], dim=1)
            assert not rest.any()
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("encoder", "refused"),
    [
        (Tokens(TokenizerOptions("bpe")), "bpe tokens without the package tokenizers"),
        (Series(downsample=2), "such inputs"),
    ],
)
def test_the_script_refuses_what_it_cannot_encode(
    encoder: InputEncoder, refused: str, tmp_path: Path
) -> None:
    encoder.fit(TEXTS if encoder.kind == "tokens" else SERIES)
    names: dict[str, Any] = {"sys": sys}
    exec(encoder.in_numpy, names)
    assert names["encode"]({"encoded": [3, 4]}) == [3, 4]
    with pytest.raises(SystemExit, match=f"error: this script cannot encode {refused}: give"):
        names["encode"](TEXTS)


def fitted(encoder: InputEncoder, raw: list[Any]) -> dict[str, Any]:
    """The spec of a data module with this encoder."""
    encoder.fit(raw)
    characters = {"num_characters": count} if (count := encoder.num_characters) else {}
    known = {"inputs": encoder.kind, "num_inputs": encoder.num_inputs, **characters}
    return {**known, "preprocessor": encoder.state()}


CHARACTERS = {"characters": "lstm"}


@pytest.mark.parametrize(
    ("encoder", "raw", "made"),
    [
        (Tokens(), TEXTS, lambda data: task(SequenceClassifier, data | CLASSES, "mean_pool", BOTH)),
        (Series(), SERIES, lambda data: task(SequenceClassifier, data | CLASSES, "last_hidden")),
        (
            Tokens(SMALL, characters=True),
            TEXTS,
            lambda data: task(
                SequenceClassifier, data | CLASSES, "max_pool", BOTH, embedding=CHARACTERS
            ),
        ),
        (
            Words(characters=True),
            WORDS,
            lambda data: task(
                Tagger, data | CLASSES, "every_step", embedding=CHARACTERS, output={"kind": "crf"}
            ),
        ),
        (
            Words(),
            WORDS,
            lambda data: task(
                Tagger,
                data | {"classes": ["B-a", "I-a", "O"]},
                "every_step",
                output={"constrained": True},
            ),
        ),
    ],
)
def test_the_script_decides_as_the_task_without_torch(
    encoder: InputEncoder, raw: list[Any], made: Callable[[Any], Task], tmp_path: Path
) -> None:
    model = made(fitted(encoder, raw))
    export(model, tmp_path)
    with torch.no_grad():
        wanted = model.describe(collate(encoder.encode(raw, "raw")))
    for row, expected in zip(predicted(tmp_path, raw), wanted, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            assert row[name] == (
                value if name != "probabilities" else pytest.approx(value, abs=1e-5)
            )
    lines = (tmp_path / "predict.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 50


@pytest.mark.parametrize(
    ("kind", "data", "head", "own"),
    [
        (Regressor, FEATURES | VALUES, "last_hidden", {"output": {"quantiles": [0.1, 0.5, 0.9]}}),
        (Regressor, FEATURES | VALUES, "every_step", {}),
        (Forecaster, WINDOWS, "last_hidden", {"base": "season"}),
        (Forecaster, WINDOWS, "mean_pool", {"output": {"quantiles": [0.2, 0.5]}}),
        (Forecaster, WINDOWS, "every_step", {"base": "last"}),
        (Forecaster, WINDOWS | {"identity": True, "num_inputs": 4}, "max_pool", {"base": "last"}),
    ],
)
def test_the_script_gives_values_in_their_own_units(
    kind: type[Task], data: dict[str, Any], head: str, own: dict[str, Any], tmp_path: Path
) -> None:
    model = task(kind, data, head, **own)
    export(model, tmp_path)
    inputs, lengths = torch.randn(2, 5, model.hparams["data"]["num_inputs"]), torch.tensor([5, 5])
    if data.get("identity"):
        inputs[..., 2:] = torch.eye(2).unsqueeze(1)
    rows: list[Any] = inputs.tolist()
    if kind is Forecaster:  # a step more than the window, in its own units
        deviation, mean = (torch.tensor(data[name]).unsqueeze(1) for name in ("deviation", "mean"))
        steps = torch.cat([torch.randn(2, 1, 2), inputs[..., :2]], dim=1) * deviation + mean
        rows = [{"series": name, "steps": own.tolist()} for name, own in zip("st", steps)]
        rows[0] = rows[0]["steps"]  # the first needs no name
    with torch.no_grad():
        wanted = model.describe(SequenceBatch(inputs, lengths, series=torch.arange(2)))
    for row, expected in zip(predicted(tmp_path, rows), wanted, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            nested = isinstance(value, dict)
            assert not nested or row[name].keys() == value.keys()
            found = (list(v.values()) if nested else v for v in (row[name], value))
            np.testing.assert_allclose(*found, atol=1e-5)


def test_the_graph_holds_what_to_know_of_it(tmp_path: Path) -> None:
    model = task(SequenceClassifier, TOKENS | CLASSES, "last_hidden")
    export(model, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    held = session.get_modelmeta().custom_metadata_map
    facts = {name: json.loads(value) for name, value in held.items()}
    assert facts == json.loads((tmp_path / "model.json").read_text())
    assert facts["decision"]["classes"] == ["a", "b", "c"] and facts["reads"] == ["h_n"]
    assert facts["preprocessing"] == TOKENS | CLASSES
    with torch.no_grad():
        model.head.output.project.bias[0] += 1  # type: ignore[union-attr, index, operator]
    export(model, tmp_path)
    changed = json.loads((tmp_path / "model.json").read_text())
    assert changed["fingerprint"] != facts["fingerprint"]


@pytest.fixture
def own_code() -> None:
    """A head and a cell that no graph can hold."""

    class Untraceable(Head, name="untraceable"):
        """Asks for a value."""

        reads = ("output",)

        def select(self, states: RNNOutput) -> torch.Tensor:
            last = int(states.lengths[0]) - 1
            return states.output[:, last] if last > 3 else states.output[:, 0]

    class Averaging(Cell, name="averaging"):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            self.h = torch.nn.Linear(input_size + hidden_size, hidden_size)

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return self.h(torch.cat([x, h], dim=1)).tanh()


PAIRS = {**TOKENS, "num_targets": 9, "start": 0, "end": 0, "shared": False}


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: task(*CLASSIFIER, "last_hidden", {"proj_size": 3}), "encoder.proj_size is 3"),
        (lambda: task(*CLASSIFIER, "last_hidden", {"cell": "averaging"}), "cell=averaging"),
        (lambda: task(*CLASSIFIER, "last_hidden", window=4), "model.window is 4"),
        *[(lambda: task(tasks.Seq2Seq, PAIRS, "attention"), "a decoder")] * bool(DECODER_HEADS),
        (lambda: task(*CLASSIFIER, "untraceable"), "SequenceClassifier cannot be traced"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused_with_the_reason(
    made: Callable[[], Task], reason: str, own_code: None, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=reason) as refused:
        export(made(), tmp_path)
    assert "\n" not in str(refused.value) and "by seqmodels.load_run" in str(refused.value)
    assert not [*tmp_path.iterdir()]


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = task(*CLASSIFIER, "last_hidden")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to .*file"):
        export(model, tmp_path / "file")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match="an export needs .* pip install 'seqmodels-temp.*export"):
        export(model, tmp_path)
