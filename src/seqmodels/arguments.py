"""Which values an argument may have, to write into annotations: `count: Natural = 0`.

Annotate your own classes with these too, or with any type that pydantic knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from seqmodels.checking import Schema


def OneOf(*names: str, own: bool = False) -> Any:  # noqa: N802 (an annotation)
    """A text that is one of these names; or `own`: another that a module of `imports` defines."""
    if own:
        return Field(examples=list(names))
    return Field(json_schema_extra={"enum": list(names)})


def Built(*given: str, stand_in: str | None = None) -> Any:  # noqa: N802
    """A mapping that names its class as `_target_`; its other keys are that class's arguments.

    Args:
        given: arguments that the code passes by itself.
        stand_in: a text that the code replaces with the value, for an argument of any type.
    """
    part: Schema = {"type": "object", "built": list(given)}
    return WithJsonSchema(part if stand_in is None else {**part, "stand_in": stand_in})


def ArgumentsOf(target: str, *given: str, **also: tuple[str | None, ...]) -> Any:  # noqa: N802
    """A mapping whose keys are the arguments of this class.

    Args:
        target: the full name of the class.
        given: arguments that the code passes by itself.
        also: by argument, the words with which the code chooses its value, or None.
    """
    others = {
        name: [{"type": "null"} if word is None else {"enum": [word]} for word in words]
        for name, words in also.items()
    }
    return WithJsonSchema({"arguments_of": target, "given": list(given), "others": others})


def OfEncoder(**also: tuple[str | None, ...]) -> Any:  # noqa: N802
    """The arguments of a task's encoder; `also` as `ArgumentsOf` takes it."""
    also = {"bidirectional": (None, "if_possible"), **also}
    return ArgumentsOf("seqmodels.nn.encoder.RecurrentEncoder", "input_size", **also)


class Passed:
    """For `**options`: the class passes these arguments to its base by itself."""

    def __init__(self, *names: str) -> None:
        self.names = names


@dataclass(frozen=True)
class BySubclass:
    """For `**options`: a subclass passes them by name, and nobody else gives any."""


Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=4_294_967_295)]  # what NumPy takes
NonNegativeFraction = Annotated[float, Field(ge=0, lt=1)]
PositiveFraction = Annotated[float, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(min_length=1)]

Sizes = Annotated[  # of the training, validation and test split
    Sequence[Annotated[int, Field(ge=1, le=10_000_000)]], Field(min_length=3, max_length=3)
]
Batches = Natural | Annotated[float, Field(ge=0, le=1)] | None
Unlimited = Annotated[int, Field(ge=-1)]  # -1: no limit

# of arguments of Lightning and PyTorch, whose annotations name only their types: by the beginning
# of the module's name, then by argument
RANGES: dict[str, dict[str, Any]] = {
    "lightning.pytorch.trainer.": {
        "accelerator": Annotated[str, OneOf("auto", "cpu", "gpu", "cuda", "mps")],
        "num_nodes": Count,
        "max_epochs": Unlimited | None,
        "min_epochs": Natural | None,
        "max_steps": Unlimited,
        "min_steps": Natural | None,
        "limit_train_batches": Batches,
        "limit_val_batches": Batches,
        "limit_test_batches": Batches,
        "limit_predict_batches": Batches,
        "overfit_batches": Batches,
        "fast_dev_run": Natural | bool,
        # no time, such as 00:00:10:00: `LastCheckpoint` counts batches
        "val_check_interval": Count | Annotated[float, Field(gt=0, le=1)] | None,
        "check_val_every_n_epoch": Count | None,
        "num_sanity_val_steps": Unlimited | None,
        "log_every_n_steps": Natural | None,
        "accumulate_grad_batches": Count,
        "gradient_clip_val": NonNegative | None,
        "gradient_clip_algorithm": Annotated[str, OneOf("norm", "value")] | None,
        "reload_dataloaders_every_n_epochs": Natural,
    },
    "lightning.pytorch.callbacks.": {
        "dirpath": Name | None,
        "mode": Annotated[str, OneOf("min", "max")],
        "every_n_train_steps": Natural | None,
        "every_n_epochs": Natural | None,
        "save_top_k": Unlimited,
        "patience": Natural,
        "min_delta": NonNegative,
        "refresh_rate": Natural,
    },
    "torch.optim.": {
        "lr": NonNegative,
        "weight_decay": NonNegative,
        "eps": NonNegative,
        "momentum": NonNegative,
        "max_lr": Positive | list[Positive],
        "div_factor": Positive,
        "final_div_factor": Positive,
        "pct_start": Annotated[float, Field(ge=0, le=1)],
        "total_steps": Count | None,
        "betas": tuple[NonNegativeFraction, NonNegativeFraction],
        "step_size": Count,
        "T_max": Count,
        "T_0": Count,
    },
}
