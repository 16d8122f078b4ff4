"""What each mistake on a command line is answered with: one line, and nothing is left behind."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from tests.conftest import Script
from tests.shipped import lacks

MODELS = """
import torch
from torch import nn

class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(12, 8, batch_first=True)
        self.classify = nn.Linear(8, 3)

    def forward(self, inputs, lengths):
        return self.classify(self.rnn(inputs)[0][:, -1])

class Right(Last):
    def forward(self, inputs, lengths):
        return self.classify(self.rnn(inputs)[0][torch.arange(len(lengths)), lengths - 1])

def build_model():
    return Last()

model = Right()
broken = nn.Linear(5, 5)
number = 3

unknown = lambda inputs, lengths: inputs

def build_nothing():
    raise RuntimeError("no such luck")
"""

FILES = {
    "wrong.csv": "words,label\na,b\n",
    "empty.csv": "text,label\na,b\n,c\n",
    "good.csv": "text,label\n" + "x,a\ny,b\n" * 10,
    "label.csv": "text,label\nx,c\n",
    "nothing.txt": "",
    "short.txt": "a b c\n" * 20,
    "broken.ckpt": "not a checkpoint",
    "models.py": MODELS,
}

# a command, and below it how its error begins; `...` stands for anything
MISTAKES = """
train model.head=last_hiden
    model.head=last_hiden...did you mean last_hidden?
train sed=1
    sed is not a key of the configuration: did you mean seed
train model.optimizer.momentun=0.1
    model.optimizer.momentun is not a key of the configuration: ...
train data.pol=2
    data.pol is not a key of the configuration: did you mean data.pool? (+data.pol adds one)
train -m lr=0.1,1
    lr is not a key of the configuration: did you mean model.optimizer.lr?
train ~trainer.epochs
    Could not delete from config. 'trainer.epochs' does not exist
train +trainer.epochs=3
    trainer.epochs is not an argument of Trainer: did you mean trainer.m...~trainer.epochs
train +lr=0.1
    lr is not a key of the configuration: choose one of allowed_targets, ...
train +seed=1
    Could not append to config. An item is already at 'seed'...
train data=japanese_vowel
    data=japanese_vowel: choose ...; did you mean japanese_vowels?
train callbacks=[default,emma]
    callbacks=emma: choose ...; did you mean ema?
train data=null
    cannot read data=null: ...
train model.head=max_pool,mean_pool
    Ambiguous value for argument 'model.head=max_pool,mean_pool' ... add --multirun
train seed=[1
    cannot read seed=[1: ...

train seed=[]
    seed=[]: input should be a valid integer
train seed=true
    seed=true: input should be a number
train model.head=
    ...model.head
train model.optimizer=adam
    model.optimizer=adam: input should be a valid dictionary
train trainer.gradient_clip_val=-1
    trainer.gradient_clip_val=-1: input should be greater than or equal to 0
train trainer.val_check_interval=00:01:00:00
    trainer.val_check_interval=00:01:00:00: ...
train model.window=0
    model.window=0: input should be greater than or equal to 1
train model.optimizer.lr=fast
    model.optimizer.lr=fast: input should be a valid number
train model.optimizer.lr=-1
    model.optimizer.lr=-1: input should be greater than or equal to 0
train optimizer=adam +model.optimizer.momentum=0.5
    model.optimizer.momentum is not an argument of Adam: ...out with ~model.optimizer.momentum
train model.encoder.cell=lsmt
    model.encoder.cell=lsmt: choose one of gru, lstm, rnn; did you mean lstm?
train +model.head_options.size=3
    model.head_options.size is not an argument of LastHidden: it takes none
train model.head=every_step
    model.head=every_step reads one vector for each step
train model._target_=torch.nn.LSTM model.head=max_pool
    ...torch.nn.LSTM is not a Task: ...
train imports=null
    imports=null: ...
train trainer.max_epochs=-1
    ...set trainer.max_epochs, trainer.max_steps or tr
train trainer.max_time=00:00:00:00
    trainer.max_time is 0: give some time to
train trainer.val_check_interval=15
    ...more than the 14 batches of an epoch
train trainer=gpu
    ...accelerator=gpu: PyTorch finds no such device
train resume=broken.ckpt
    ...broken.ckpt is not a run folder: it has no config.yaml

train data=uea
    data.name must be given: add data.name=<value>
train model=forecaster data=windows
    data.file must be given: add data.file=<value>
train data=text data.train=2020
    2020: ...
train data=text data.train=wrong.csv
    ...has no column 'text'
train data=text data.train=empty.csv
    ...the text of row 2 is empty
train data=text data.train=good.csv data.test=label.csv
    ...1 of 1 labels ... were never seen in training, such as 'c' of example 1
train model=language_model data=text_lm trainer=cpu data.train=nothing.txt
    the train split of nothing.txt has no text
train model=language_model data=text_lm trainer=cpu data.train=short.txt
    the train split of short.txt has ... tokens, too few for one window: ... need 2048
train model=language_model data=text_lm trainer=cpu data.train=good.csv model.head=mean_pool
    model.head=mean_pool reads one vector for each sequence

train -m trainer=ddp seed=0,1
    ...starts this command again
train -m data=text,txet seed=0,1
    data=txet: choose ...; did you mean text?
train -m seed=0,1 model.hed=x
    model.hed is not a key
train -m seed=0 tags=[a],[b]
    tags=[a],[b]: each job of a sweep has the folder of its settings
train -m seed=0,1 sweep.metric=x
    sweep.metric=x: write test/ or validation/ before its name
train -m seed=0,1 sweep.metric=test/acuracy
    unknown metric test/acuracy: did you mean accuracy? if not, add
train -m seed=0,1 sweep.metric=test/coverage
    ...neither more nor less test/coverage is better
train -m seed=0,1 folder=mine
    folder=mine: each job of a sweep has the folder of its settings, in hydra.sweep.dir
train -m seed=0,1 resume=mine
    resume=mine: each job of a sweep has the folder of its settings, in hydra.sweep.dir
train seed=x,6 --config-dir mine -m trainer=cpu
    seed=x: input should be a valid integer

explain model.head=last_hiden
    ...did you mean last_hidden?
explain model._target_=torch.nn.LSTM model.head=max_pool
    ...torch.nn.LSTM is not a Task: ...
explain model.head=last_hidden model.encoder.bidirectional=true
    ...needs a one-directional encoder, because h_n
explain model.encoder.cell=gru model.encoder.proj_size=3
    model.encoder: proj_size argument is only supported for LSTM...

audit
    target must be given: add target=<value>
audit target=models
    target=models must be module:name
audit target=models:unknown
    ...give one of input.features=<number> and input.voc
audit target=a:b input.featurs=2
    ...did you mean input.features
audit target=none:Last input.features=2
    ...ModuleNotFoundError: No module
audit target=models:Lst input.features=2
    ...no such name ... did you mean Last
audit target=models:number input.features=2
    ...is not a model
audit target=models:build_nothing input.features=2
    ...no such luck
audit target=models:model input.features=0
    ...input.features is 0: ...least 1
audit target=models:model input.features=7
    ...cannot be run: RuntimeError
audit target=models:model input.features=12 kind=all
    kind=all: input should be 'sequence' or 'per_step'

compare
    name the folders to compare
compare nowhere
    nowhere: no run there
lint nowhere.py
    nowhere.py does not exist
evaluate
    run must be given: add run=<value>
evaluate job
    cannot read job: write key=value; --help shows the keys
evaluate rn=x
    rn is not a key of the configuration: did you mean run?
evaluate run=nowhere
    nowhere is not a run folder
generate run=nowhere
    nowhere is not a run folder
predict run=nowhere
    input must be given: add input=<value>
"""
ROWS = [line.strip() for line in MISTAKES.splitlines() if line]


@pytest.mark.parametrize(
    ("line", "message"), [row for row in zip(ROWS[::2], ROWS[1::2]) if not lacks(row[0])]
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    script: Script, tmp_path: Path, line: str, message: str
) -> None:
    if "trainer=gpu" in line and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "mine").mkdir()
    before = sorted(tmp_path.rglob("*"))
    name, *words = shlex.split(line)
    done = script(f"{name}.py", *words, status=2)
    [said] = done.stderr.splitlines()
    pattern = ".*".join(map(re.escape, message.split("...")))
    assert re.match(f"error: {pattern}", said), said
    assert done.stdout == "" or name == "train"
    caches = {"cache", "__pycache__"}
    left = [p for p in tmp_path.rglob("*") if p not in before and not caches & set(p.parts)]
    assert left == []
