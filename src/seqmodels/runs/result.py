"""`result.json`: what is known of a run."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat

from seqmodels.errors import UserError, one_line
from seqmodels.plain_values import flattened

# JSON has no nan, so that it is null there.
Score = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
Scores = dict[str, Score]

# The numbers of a run, in bounds within which they can be added and shown.
Whole = Annotated[int, Field(ge=0, lt=2**63)]
Measured = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


class Result(BaseModel):
    """What `result.json` holds. What a run that failed never came to know is empty.

    Args:
        fingerprint: of the data, all splits together.
        fingerprints: of each split, where they are known.
        metric: to compare the run by, without its split; `higher_is_better` says its direction.
        examples: of each split.
        baselines: by metric and by name.
        weights: the checkpoint whose weights the metrics are of: `best`; `last` where no best one
            was saved; or `finished`, a copy of it, while the run is trained longer.
        calibration: what the task learned from the validation split for those weights, such as how
            far each quantile of each value is moved, in standardised units.
        stretches: how many entries of `overrides.yaml` it was trained with, if later ones are of
            such a longer training.
        resumed: the environment of each resume.
        examples_per_second, tokens_per_second: of the training; whichever the task counts.
    """

    model_config = ConfigDict(strict=True)

    status: str = "interrupted"  # The others are completed and failed.
    error: str | None = None
    task: str = ""
    data: str = ""
    fingerprint: str = ""
    fingerprints: dict[str, str] = {}
    head: str = ""
    reads: list[str] = []
    seed: Whole
    config: dict[str, Any]
    parameters: Whole = 0
    metric: str = ""
    metrics: Scores = {}
    weights: Annotated[str, Field(pattern=r"^(best|last|finished(_\d+)?)$")] = "best"
    calibration: list[list[FiniteFloat]] | None = None
    stretches: Whole | None = None
    higher_is_better: dict[str, bool] = {}
    examples: dict[str, Whole] = {}
    baselines: dict[str, Scores] = {}
    verdict: list[str] = []
    seconds: dict[str, Measured] = {}
    examples_per_second: Measured | None = None
    tokens_per_second: Measured | None = None
    device: str = ""
    resumed: list[Any] = []

    @property
    def completed(self) -> bool:
        return self.status == "completed"

    @property
    def is_kept(self) -> bool:
        """Whether its weights are a copy, beside those of a longer training."""
        return self.weights.startswith("finished")

    @property
    def speed(self) -> tuple[str, float]:
        """Examples or tokens, and how many of them in a second of training; nan if unknown."""
        if self.tokens_per_second is not None:
            return "tokens", self.tokens_per_second
        if self.examples_per_second is not None:
            return "examples", self.examples_per_second
        return "examples", math.nan

    @property
    def whole_splits(self) -> bool:
        """Whether the run trains and tests on all of its splits; False with `debug`."""
        config = flattened(self.config)
        limits = (config.get(f"trainer.limit_{name}_batches") for name in ("train", "val", "test"))
        parts = (config.get(f"trainer.{name}") for name in ("overfit_batches", "fast_dev_run"))
        whole = (limit is None or (limit == 1 and isinstance(limit, float)) for limit in limits)
        return all(whole) and not any(parts)

    def fail(self, error: BaseException) -> None:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        self.status, self.error = "failed", f"{kind}{one_line(error)}"
