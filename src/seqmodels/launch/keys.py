"""The keys of the files in `configs/` that a script starts from, with what they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from seqmodels.arguments import Built, Count, Name, Natural, NonNegative, OneOf, Seed

Object = Annotated[dict[str, Any], Built()]
Accelerator = Annotated[str, OneOf("auto", "cpu", "gpu", "mps", "cuda")]
Checkpoint = Annotated[str, OneOf("best", "last")]
Modules = list[Name]


def name_of(keys: type) -> str:
    """Return the name of the file that has these keys: `train`."""
    return keys.__name__.removesuffix("Keys").lower()


@dataclass
class SweepKeys:
    resume: Name | bool | None
    metric: Name | None
    different_data: bool


@dataclass
class PathKeys:
    runs: Name
    cache: Name | None


@dataclass
class TrainKeys:
    folder: Name
    task_name: Name | None
    tags: list[Name]
    resume: Name | None
    seed: Seed
    baseline: bool
    imports: Modules | Name
    allowed_targets: Modules
    paths: PathKeys
    sweep: SweepKeys
    model: Annotated[dict[str, Any], Built("data")]
    data: Object
    trainer: Annotated[dict[str, Any], Built("callbacks", "logger", "default_root_dir")]
    callbacks: dict[str, Object | None] | None
    logger: dict[str, Object | None] | None


@dataclass
class ExplainKeys:
    folder: Name
    imports: Modules | Name
    allowed_targets: Modules
    model: Annotated[dict[str, Any], Built("data")]
    callbacks: Any = None  # of some models


@dataclass
class RunKeys:
    """The keys of every script that loads a finished run."""

    run: Name
    checkpoint: Checkpoint
    imports: Modules
    allowed_targets: Modules


@dataclass
class ExportKeys(RunKeys):
    format: Name
    output: Name | None
    quantize: Annotated[str, OneOf("int8")] | None
    hub: Name | None


@dataclass
class DeviceKeys(RunKeys):
    accelerator: Accelerator


@dataclass
class PredictKeys(DeviceKeys):
    input: Name | None
    split: Name | None
    batch_size: Count | None
    beam: Count | None
    best: Count | None
    unknown: Annotated[str, OneOf("copy", "skip")] | None


@dataclass
class EvaluateKeys(DeviceKeys):
    split: Name
    file: Name | None
    batch_size: Count | None
    dynamic: bool
    dynamic_learning_rate: NonNegative
    dynamic_decay: Annotated[float, Field(ge=0, le=1)]
    predictions: bool


@dataclass
class GenerateKeys(DeviceKeys):
    prompt: str
    length: Natural
    temperature: NonNegative
    top_k: Count | None
    top_p: Annotated[float, Field(gt=0, le=1)] | None
    seed: Seed


@dataclass
class CompareKeys:
    metric: Name | None
    different_data: bool
    output: Name | None


@dataclass
class AuditInputKeys:
    features: Count | None
    vocabulary: Count | None
    batch: Count
    time: Count


@dataclass
class AuditKeys:
    target: Name
    input: AuditInputKeys
    kind: Annotated[str, OneOf("sequence", "per_step")]
    causal: bool
    padding: float | Annotated[str, OneOf("none", "front")] | None
    seed: Seed
