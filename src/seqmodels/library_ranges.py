"""Ranges of the arguments of Lightning and PyTorch, whose annotations name only their types."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from seqmodels.arguments import Count, Name, Natural, NonNegative, OneOf, Positive, Share

Batches = Natural | Annotated[float, Field(ge=0, le=1)] | None
Unlimited = Annotated[int, Field(ge=-1)]  # -1: no limit

# by the beginning of the module's name, then by argument, or by class and argument
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
        "betas": tuple[Share, Share],
        "step_size": Count,
        "T_max": Count,
        "T_0": Count,
    },
}
