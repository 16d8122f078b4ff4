"""Any mistake on a command line is answered with one line, and nothing is left behind."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from seqmodels import compose
from seqmodels.arguments import arguments
from seqmodels.plain_values import flattened
from tests.conftest import ROOT, Completed, Refused
from tests.in_process import run_in_process
from tests.shipped import lacks

FILES = {
    "wrong.csv": "words,label\na,b\n",
    "models.py": """
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 2, batch_first=True)

    def forward(self, inputs, lengths):
        return self.rnn(inputs)[1][-1]
""",
}

# a command, and below it how its error begins; `...` stands for anything
MISTAKES = """
train model.head=last_hiden
    model.head=last_hiden...did you mean last_hidden?
train model.optimizer.momentun=0.1
    model.optimizer.momentun is not a key of the configuration: ...
train +trainer.epochs=3
    trainer.epochs is not an argument of Trainer: did you mean trainer.m...~trainer.epochs
train data=japanese_vowel
    data=japanese_vowel: ...did you mean japanese_vowels?
train model.head=max_pool,mean_pool
    model.head=max_pool,mean_pool: for a training with each, add -m; ...
train --hlep
    --hlep: choose one of ...did you mean --help?
train -m seed=0,1 --config-dir nowhere
    --config-dir nowhere: no such folder
train trainer.max_epochs=0
    no step is left to train: ...
train trainer.limit_val_batches=1e-8 folder=new
    trainer: ...
train +callbacks.a=3
    callbacks.a=3: input should be a valid dictionary
train model.metrics=abc
    model.metrics=abc: input should be a valid dictionary
train -m seed=range(0)
    seed=range(0): there is no value to train with
train seed=[1
    cannot read seed=[1: ...
train model.head=every_step
    model.head=every_step reads one vector for each step
train trainer.max_epochs=-1
    ...set trainer.max_epochs or trainer.max_steps
train trainer.max_time=10min
    trainer.max_time=10min: write days, hours, minutes and seconds, as 00:00:10:00 for ten minutes
train trainer.max_time=10
    trainer.max_time=10: write days, hours, minutes and seconds, as 00:00:10:00 for ten minutes
train trainer.accelerator=tpu
    trainer.accelerator=tpu: this machine lacks what that needs: Requirement 'torch_xla...
train trainer.strategy=ddp_spawn
    trainer.strategy=ddp_spawn starts processes within this one, ...: use trainer.strategy=ddp
train data.train=my.csv
    data.train is a key of ...data=series, ...data=text...: add the one that you mean
train model.optimizer.nesterov=true
    model.optimizer.nesterov is a key of optimizer=sgd: add that, too
train callbacks.ema.decay=0.9
    callbacks.ema.decay is a key of +callbacks=ema: add that, too
train data=series data.value_columns=rul
    data.value_columns=rul: this is a list, so write [rul]
train data=series data.inputs=[°C,s2,kW(el)]
    cannot read data.inputs=[°C,s2,kW(el)]: write 'data.inputs=["°C",s2,"kW(el)"]'
train sweep.metric=test/f1
    sweep.metric=test/f1: choose one of test/accuracy, ...
train resume=wrong.csv
    ...wrong.csv is not a run folder: ...

train data=uea
    data.name must be given: add data.name=<value>
train data=text data.train=wrong.csv
    ...has no column 'text': set data.text_column; ...

train trainer=cpu trainer.devices=3 trainer.val_check_interval=9
    ...is more than the 5 batches of an epoch: ...
train -m trainer=ddp seed=0,1
    ...start this command again
train -m seed=0,1 model.dropout=2
    model.embedding.dropout=2: input should be less than 1
train -m seed=0,1 folder=mine
    folder=mine: each job of a sweep has the folder of its settings, ...

train -m model.dropout=interval(0,0.5)
    model.dropout=interval(0,0.5): to search an interval, add hparams_search=optuna
train -m model.head=last_hidden,nope
    model.head=nope: choose one of ...
train -m data.batch_size=16,zero seed=0,1
    data.batch_size=zero: input should be a valid integer...
train -m callbacks=default,early_stopping
    callbacks=early_stopping leaves out ...write +callbacks=early_stopping to add...
train -m hparams_search=optuna model.dropout=interval(0,2)
    model.embedding.dropout=2.0: input should be less than 1
train callbacks=early_stopping callbacks.dataflow=null
    callbacks=early_stopping leaves out ...write +callbacks=early_stopping to add...

train -m hparams_search=optuna sweep.metric=test/loss
    sweep.metric=test/loss: ...validation
train -m hparams_search=optuna seed=0,1
    a search needs a space, without the seed, ...

explain model.head=last_hidden model.encoder.bidirectional=true
    ...needs a one-directional encoder, because h_n
audit target=models:Modl input.features=2
    target=models:Modl: no such name in models: choose one of Model; did you mean Model?
compare nowhere
    nowhere: no run there
lint nowhere.py
    nowhere.py does not exist
evaluate job
    cannot read job: write key=value; --help shows the keys
generate run=nowhere
    nowhere is not a run folder
"""
ROWS = [line.strip() for line in MISTAKES.splitlines() if line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "mine").mkdir()
    return tmp_path


def run(folder: Path, name: str, *words: str) -> tuple[Completed, set[Path]]:
    """What a script answers, and what it leaves behind but caches."""
    before = {*folder.rglob("*")}
    done = run_in_process(ROOT / "scripts" / f"{name}.py", words, folder)
    caches = {"cache", "__pycache__"}
    new = {path for path in folder.rglob("*") if not caches & {*path.parts}}
    return done, new - before


@pytest.mark.parametrize(
    ("line", "message"), [row for row in zip(ROWS[::2], ROWS[1::2]) if not lacks(row[0])]
)
def test_a_mistake_is_one_line_and_leaves_nothing(folder: Path, line: str, message: str) -> None:
    name, *words = line.split()
    done, left = run(folder, name, *words)
    [said] = done.stderr.splitlines()
    pattern = ".*".join(map(re.escape, message.split("...")))
    assert re.match(f"error: {pattern}", said), said
    assert done.returncode == 2 and not left
    assert done.stdout == "" or name == "train"


def test_a_wrong_key_beside_a_folder_of_your_own_is_named(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text("# @package _global_\nseed: 3\n")
    words = ("--config-dir", "mine", "experiment=own", "model.heda=max_pool")
    assert refused("train.py", *words).startswith("error: model.heda is not a key")
    assert refused("train.py", *words[2:3]).startswith("error: experiment=own: choose one of")


# ---------------------------------------------------------------- any keys with any values

VALUES = (
    "", "''", "null", "true", "0", "1", "-1", "0.5", "1e3", "1e400", "007", "1_000", "nan", "-inf",
    "[]", "[1]", "[a]", "[[1]]", "[null]", "{}", "{a:1}", "{_target_:os.system}", "{_target_:3}",
    "{_target_:torch.optim.SGD,lr:0.1}", str(2**63), "a", "x" * 300, "é", "🙂", "a b",
    "a=b", "..", "/dev/null", "'", "[", "{", "${", "${a}", "${seed", "${model.head}", "\\", "a\nb",
    "\x1b[31m", "???", "a,b", "range(3)", "auto", "max_pool", "torch.nn.Linear", "total_steps",
)  # fmt: skip
KEYS = (
    "", "a", "seed.x", "model", "data", "trainer", "callbacks", "model..head", ".seed", "séed",
    "MODEL.HEAD", "seed[0]", "model._recursive_", "model._partial_", "trainer._args_", "--cfg",
    "trainer.logger", "model.data", "model.optimizer.params", "hydra.job.name", "debug", "--info",
)  # fmt: skip
TINY = (
    "data=uea", "data.name=UnitTest", "model.encoder.hidden_size=4",
    "trainer=cpu", "baseline=false", "trainer.fast_dev_run=1",
)  # fmt: skip
FINDINGS = ("audit", "compare")  # exit with status 1 if they find something
PLAIN = {
    "audit": ("target=models:Model", "input.features=3"),
    "compare": ("nowhere",),
    "predict": ("run=nowhere", "input=-"),
}


def keys_of(name: str) -> list[str]:
    if name in ("train", "explain"):
        config = OmegaConf.to_container(compose(*TINY), resolve=False)
        return [key for key in flattened(config) if name == "train" or key.startswith("model.")]
    command = importlib.import_module(f"seqmodels.launch.commands.{name}")
    takes = arguments(inspect.unwrap(command.main))
    return [*takes.names()] if takes else ["metric"]


def words_of(name: str) -> st.SearchStrategy[str]:
    """`key=value`, mostly of keys that there are."""
    keys, values, odd = (st.sampled_from(each) for each in (keys_of(name), VALUES, KEYS))
    usual = st.builds("{}={}".format, keys, values)
    other = st.builds("{}={}".format, odd, values)
    added = st.builds("+{}={}".format, keys, values)
    nested = st.builds("++{}.new={}".format, keys, values)
    return usual | usual | usual | other | added | nested | keys.map("~{}".format) | odd


@pytest.mark.parametrize("name", ["train", "explain", *PLAIN])
@pytest.mark.parametrize("count", [6, pytest.param(150, marks=pytest.mark.long)])
def test_any_words_are_taken_or_answered_with_one_line(name: str, count: int, folder: Path) -> None:
    base = TINY if name == "train" else PLAIN.get(name, ())

    @settings(max_examples=count, suppress_health_check=[*HealthCheck])
    @given(words=st.lists(words_of(name), min_size=1, max_size=2))
    def any_words(words: list[str]) -> None:
        done, left = run(folder, name, *base, *words)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        found_something = name in FINDINGS and done.returncode == 1
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode in (0, 2) or found_something
        if "usage: " not in done.stderr:  # of Hydra
            assert len(errors) == (done.returncode == 2)
        assert done.returncode != 2 or not left

    any_words()
