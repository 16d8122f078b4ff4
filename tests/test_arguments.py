"""Arguments are checked once, in the same words however an object is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object

from seqmodels.arguments import arguments, validated
from seqmodels.data import Text
from seqmodels.errors import UserError
from seqmodels.instantiate import check, instantiate
from seqmodels.runs.plan import check_keys, plan_of
from tests.conftest import ROOT, Config


def test_options_that_are_passed_on_are_those_of_the_base() -> None:
    takes = arguments(Text)
    with pytest.raises(UserError, match="^data.pool=0: input should be greater than or equal to 1"):
        validated(takes, {"pool": 0}, "data")
    given = {"train": 2020, "tokenizer": "word"}  # a number is text where text is meant
    assert validated(takes, given, "data") == {**given, "train": "2020"}


def test_the_class_decides_what_is_needed_and_its_base_which_keys_a_dict_has() -> None:
    class Base:
        def __init__(self, sizes: dict[str, int] | None = None) -> None: ...

    class Derived(Base):
        def __init__(self, sizes: dict[str, Any], **options: Any) -> None:
            super().__init__(sizes, **options)

    takes = arguments(Derived)
    with pytest.raises(UserError, match="^sizes must be given"):
        validated(takes, {})
    with pytest.raises(UserError, match="^sizes.a=b: input should be a valid integer"):
        validated(takes, {"sizes": {"a": "b"}})


def test_of_several_alternatives_the_one_that_fits_best_is_told() -> None:
    def layers(widths: bool | list[int]) -> None: ...

    with pytest.raises(UserError, match="^widths.1=wide: input should be a valid integer"):
        validated(arguments(layers), {"widths": [1, "wide"]})


# ---------------------------------------------------------------- a class of your own

OWN_TASK = """
from dataclasses import dataclass
from typing import Literal
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


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("strength", "strng", "strength=strng: input should be 'weak' or 'strong'"),
        ("encoder", {"hiden_size": 3}, "encoder.hidden_size must be given"),
        ("dropout", 1.0, "dropout=1.0: input should be less than 1"),
        ("dropout", True, "dropout=.*: input should be a number"),
        ("strenth", "weak", "strenth is not an argument of Own: did you mean model.strength"),
        ("output", {"shape": "wek"}, "output.shape=wek: input should be 'weak' or 'strong'"),
        # of the class that it builds on, whose file has other names
        ("output", {"label_smoothing": 2}, "output.label_smoothing=2: input should be less"),
        ("optimizer", {"_target_": "torch.optim.SGD", "mometum": 1}, "optimizer.mometum is"),
    ],
)
def test_a_class_of_your_own_is_checked_where_it_is_built(
    key: str, value: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_task.py").write_text(OWN_TASK)
    monkeypatch.syspath_prepend(tmp_path)
    config = {"_target_": "own_task.Own", **MODEL, key: value}
    with pytest.raises(UserError, match=f"^model.{message}"):
        instantiate(config, key="model", data=SPEC, allowed_targets=["own_task."])


# ---------------------------------------------------------------- whole configurations


@pytest.mark.parametrize(
    "word",
    [
        "trainer.gradient_clip_val=-1",  # which Lightning takes for the end of clipping
        "trainer.accumulate_grad_batches=-1",
        "trainer.val_check_interval=00:00:10:00",  # `LastCheckpoint` counts batches
    ],
)
def test_what_would_be_wrong_in_silence_is_refused(word: str, config: Config) -> None:
    with pytest.raises(UserError, match=f"^{word.partition('=')[0]}=.*$"):
        plan_of(check_keys(config(word)))


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
    names = arguments(get_object(composed.data._target_)).arguments
    composed.data = {k: v for k, v in composed.data.items() if k in names or k == "_target_"}
    composed.trainer.accelerator = "cpu"  # also where there is no GPU
    plan_of(check_keys(composed))
    check(composed.data, key="data")
    for name, entry in composed.callbacks.items():
        check(entry, key=f"callbacks.{name}")
