"""Arguments are checked once, in the same words however an object is made."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_object

from seqmodels.arguments import NonNegativeFraction, arguments, validated
from seqmodels.data import Text
from seqmodels.errors import UserError
from seqmodels.instantiate import instantiate
from seqmodels.plain_values import flattened
from seqmodels.runs.keys import check_config
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import ROOT, Config, Refused

OPTIMIZERS = [f"torch.optim.{name}" for name in torch.optim.__all__ if name[0].isupper()]
TASK = "seqmodels.tasks.classification.SequenceClassifier"


@pytest.mark.parametrize(
    "target", ["lightning.pytorch.Trainer", "seqmodels.data.Text", TASK, *OPTIMIZERS]
)
def test_each_argument_takes_its_default(target: str) -> None:
    cls = get_object(target)
    takes = arguments(cls)
    parameters = inspect.signature(cls).parameters.values()
    named = {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    assert named.keys() <= takes.kinds.keys()
    needed = {name for name, p in named.items() if p.default is p.empty}
    assert needed <= {name for name, (_, is_needed) in takes.kinds.items() if is_needed}
    usual = {n: p.default for n, p in named.items() if isinstance(p.default, int | float | str)}
    assert validated(takes, usual, given=needed) == usual


def test_options_that_are_passed_on_are_those_of_the_base() -> None:
    takes = arguments(Text)
    assert "pool" in takes.kinds
    with pytest.raises(UserError, match="^data.pool=0: input should be greater than or equal to 1"):
        validated(takes, {"pool": 0}, "data")
    given = {"train": 2020, "tokenizer": "word"}  # a number is text where text is meant
    assert validated(takes, given, "data") == {**given, "train": "2020"}


def test_a_number_is_finite_and_is_text_where_text_is_meant() -> None:
    def f(x: float = 0.0, name: str = "") -> None: ...

    assert validated(arguments(f), {"name": 3}) == {"name": "3"}
    for value in (float("nan"), float("inf")):
        with pytest.raises(UserError, match="^x="):
            validated(arguments(f), {"x": value})


@pytest.mark.parametrize("value", [True, "a", None, float("nan"), -0.1, 1, 2**70, [0.5], {}])
def test_a_share_is_a_number_from_0_up_to_1(value: Any) -> None:
    def f(x: NonNegativeFraction) -> None: ...

    takes = arguments(f)
    assert validated(takes, {"x": 0}) == {"x": 0} and validated(takes, {"x": 0.5}) == {"x": 0.5}
    with pytest.raises(UserError, match="^x="):
        validated(takes, {"x": value})


# ---------------------------------------------------------------- a class of your own

OWN_TASK = """
from dataclasses import dataclass
from typing import Any, Literal
from seqmodels.nn.outputs import ClassOptions
from seqmodels.tasks.classification import SequenceClassifier

Strength = Literal["weak", "strong"]

@dataclass(frozen=True)
class OwnOptions(ClassOptions):
    shape: Strength = "weak"

class Own(SequenceClassifier):
    Options = OwnOptions

    def __init__(self, *args, strength: Strength = "weak", depth: int | None = None, **options):
        super().__init__(*args, **options)
"""
SPEC = {"inputs": "features", "num_inputs": 3, "classes": ["a", "b"]}
MODEL = {"encoder": {"hidden_size": 3}, "head": "max_pool", "_recursive_": False}
SGD = "torch.optim.SGD"


@pytest.fixture
def own_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    (tmp_path / "own_task.py").write_text(OWN_TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    own: type[Any] = importlib.import_module("own_task").Own
    return own


@pytest.mark.usefixtures("own_task")
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("strength", "strng", "strength=strng: input should be 'weak' or 'strong'"),
        ("encoder", {"hiden_size": 3}, "encoder.hidden_size must be given"),
        ("strenth", "weak", "strenth is not an argument of Own: did you mean model.strength"),
        ("data", {}, "data is not an argument of Own"),
        ("output", {"shape": "wek"}, "output.shape=wek: input should be 'weak' or 'strong'"),
        # of the class that it builds on, whose file has other names
        ("output", {"label_smoothing": 2}, "output.label_smoothing=2: input should be less"),
        ("optimizer", {"_target_": SGD, "lr": "x"}, "optimizer.lr=x: input"),
        ("optimizer", {"_target_": SGD, "mometum": 1}, "optimizer.mometum is"),
    ],
)
def test_a_class_of_your_own_is_checked_where_it_is_built(
    key: str, value: Any, message: str
) -> None:
    config = {"_target_": "own_task.Own", **MODEL, key: value}
    with pytest.raises(UserError, match=f"^model.{message}"):
        instantiate(config, key="model", data=SPEC, allowed_targets=["own_task."])


@pytest.mark.parametrize(
    ("name", "value"),
    [("dropout", 1.0), ("encoder", {"hidden_size": 3, "cell": "l"}), ("head_options", {"size": 3})],
)
def test_every_road_says_the_same(
    own_task: type[Any], refused: Refused, name: str, value: Any
) -> None:
    options, said = {**MODEL, name: value}, []
    for cls in (SequenceClassifier, own_task):  # a notebook
        with pytest.raises(UserError) as caught:
            cls(SPEC, **{key: v for key, v in options.items() if key != "_recursive_"})
        said.append(str(caught.value))
    for named in (TASK, "own_task.Own"):  # a run folder
        with pytest.raises(UserError) as caught:
            config = {"_target_": named, **options}
            instantiate(config, key="model", data=SPEC, allowed_targets=["own_task."])
        said.append(str(caught.value))
    words = [f"++model.{key}={leaf}" for key, leaf in flattened({name: value}).items()]
    said.append(refused("train.py", "model.head=max_pool", *words).removeprefix("error: "))
    assert {*said} == {said[0]} and len(said) == 5


# ---------------------------------------------------------------- whole configurations


@pytest.mark.parametrize(
    "word",
    [
        "trainer.gradient_clip_val=-1",  # which Lightning takes for the end of clipping
        "trainer.accumulate_grad_batches=-1",
        "trainer.log_every_n_steps=-1",
        "trainer.val_check_interval=00:00:10:00",  # `LastCheckpoint` counts batches
        "trainer.check_val_every_n_epoch=0",
        "model.scheduler.rise=0",
    ],
)
def test_what_would_be_wrong_in_silence_is_refused(word: str, config: Config) -> None:
    with pytest.raises(UserError, match=f"^{word.partition('=')[0]}=.*$"):
        check_config(config(word))


GROUPS = ("model", "data", "optimizer", "scheduler", "experiment", "debug", "trainer")
FILES = [
    f"{group}={file.stem}"
    for group in GROUPS
    for file in sorted((ROOT / "configs" / group).glob("*.yaml"))
    if (group, file.stem) != ("model", "task")
]


@pytest.mark.parametrize("word", FILES)
def test_every_shipped_file_gives_arguments_that_its_classes_take(
    word: str, config: Config
) -> None:
    composed = config(word, "++data.train=x", "++data.file=x", "++data.target=x", "++data.name=x")
    names = arguments(get_object(composed.data._target_)).kinds
    composed.data = {k: v for k, v in composed.data.items() if k in names or k == "_target_"}
    composed.trainer.accelerator = "cpu"  # also where there is no GPU
    check_config(composed)
