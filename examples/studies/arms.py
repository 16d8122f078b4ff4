"""What each study trains. An *arm* is a network and its data: words that change a set's recipe.

Every arm of a study is trained on every set with every seed, for the same number of steps. Two
studies may share an arm: it is trained once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

Kind = Literal["series", "texts"]

# The shipped recipes for a fixed number of steps. Every training is validated twenty times, at the
# same steps, and ends when its steps are taken.
_ALWAYS = (
    "baseline=false",
    "data.validation_fraction=0.1",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "trainer.max_epochs=-1",
    "trainer.check_val_every_n_epoch=null",
    "trainer.enable_progress_bar=false",
    "trainer.num_sanity_val_steps=0",
    # A study keeps the weights itself, reads wrong tensors on purpose, and draws nothing of a run.
    *(
        f"callbacks.{name}=null"
        for name in ("checkpoint", "last", "progress", "predictions", "pictures", "dataflow")
    ),
)
RECIPES: dict[str, tuple[str, ...]] = {
    "series": (
        "experiment=series_classification",
        *_ALWAYS,
        "trainer.max_steps=400",
        "trainer.val_check_interval=20",
    ),
    "texts": (
        "experiment=text_classification",
        *_ALWAYS,
        "trainer.max_steps=500",
        "trainer.val_check_interval=25",
        "callbacks.early_stopping=null",
        "model.adversarial=0.0",  # half the time
    ),
}
MODULES = (
    "examples.classic_mistakes",
    "examples.minlstm",
    "examples.slstm",
    "examples.studies.fifth",
    "examples.studies.last_step_of_both",
)
FIFTH_OF = {"uea": "FifthOfUEA", "series": "FifthOfSeries", "text": "FifthOfTexts"}


class Arm(NamedTuple):
    """One arm of a study.

    Args:
        words: what it changes, as on the command line.
        probe: what is tested beside the test split: "quarters", each of which is hidden once;
            "batches" of one row and of all rows.
        fifth: whether it learns from a fifth of the training split.
    """

    name: str
    words: tuple[str, ...]
    probe: Literal["quarters", "batches"] | None = None
    fifth: bool = False


HEADS = (
    "concat_pool",
    "max_pool",
    "max_attention_pool",
    "attention_pool",
    "mean_pool",
    "bidirectional_concat",
    "last_hidden",
)
# What reads the end alone, or all steps, with one direction and with two.
ONE_DIRECTION = Arm(
    "max_pool, one direction", ("model.head=max_pool", "model.encoder.bidirectional=false")
)
END_OF_BOTH = Arm("last_step_of_both", ("model.head=last_step_of_both",))
# The right head of each wrong one.
WRONG = {"padded_last_step_of_both": "bidirectional_concat", "padded_mean": "mean_pool"}
# The network that the studies of cells and sizes change: the arm `concat_pool` of the heads.
UNITS = 128
CELLS = ("gru", "rnn", "minlstm", "slstm")
# How many units of a cell have as many weights as that LSTM. An encoder of series reads the 128
# channels of the convolutions, and one of texts 256 numbers for a word.
UNITS_OF_CELL = {
    "series": {"gru": 155, "rnn": 304, "minlstm": 341, "slstm": 128},
    "texts": {"gru": 158, "rnn": 334, "minlstm": 256, "slstm": 128},
}
SIZES = ((32, 1), (64, 1), (256, 1), (32, 2), (64, 2), (128, 2), (256, 2))


def arms_of_heads(kind: Kind) -> list[Arm]:
    heads = [Arm(head, (f"model.head={head}",), "quarters") for head in HEADS]
    return [*heads, END_OF_BOTH, ONE_DIRECTION]


def arms_of_mistakes(kind: Kind) -> list[Arm]:
    return [Arm(head, (f"model.head={head}",), "batches") for head in WRONG]


def arms_of_fifth(kind: Kind) -> list[Arm]:
    return [Arm(f"{head}, a fifth", (f"model.head={head}",), fifth=True) for head in HEADS]


def arms_of_cells(kind: Kind) -> list[Arm]:
    arms = [Arm("concat_pool", ("model.head=concat_pool",), "quarters")]
    for cell in CELLS:
        units = UNITS_OF_CELL[kind][cell]
        words = (
            "model.head=concat_pool",
            f"model.encoder.cell={cell}",
            f"model.encoder.hidden_size={units}",
        )
        arms.append(Arm(cell, words))
    return arms


def arms_of_sizes(kind: Kind) -> list[Arm]:
    arms = [Arm("concat_pool", ("model.head=concat_pool",), "quarters")]
    for units, layers in SIZES:
        words = (
            "model.head=concat_pool",
            f"model.encoder.hidden_size={units}",
            f"model.encoder.num_layers={layers}",
        )
        arms.append(Arm(f"{units} x {layers}", words))
    return arms


STUDIES: dict[str, Callable[[Kind], list[Arm]]] = {
    "heads": arms_of_heads,
    "mistakes": arms_of_mistakes,
    "fifth": arms_of_fifth,
    "cells": arms_of_cells,
    "sizes": arms_of_sizes,
}
