"""Show which tensor feeds what, without training."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import DictConfig

from seqmodels.arguments import Name, arguments, validated
from seqmodels.launch.composed import composed
from seqmodels.plain_values import resolved


@dataclass
class Keys:
    """Of `configs/explain.yaml`; what `model` holds is checked where it is built."""

    folder: Name
    imports: list[Name] | Name
    allowed_targets: list[Name]
    model: dict[str, Any]
    # Some models come with keys of a training.
    callbacks: Any = None
    trainer: Any = None


@partial(composed, "explain")
def main(config: DictConfig) -> None:
    plain = resolved(config)
    validated(arguments(Keys), plain)
    import torch

    from seqmodels.dataflow.explain import explain
    from seqmodels.machine import one_thread
    from seqmodels.runs.plan import plan_of

    with one_thread():
        torch.manual_seed(0)
        # Its callbacks lack what a training would give them.
        plan = plan_of({key: plain[key] for key in ("imports", "allowed_targets", "model")})
        task = plan.build("model", data={**plan.contract.kind.example})
        explain(task, plain["folder"])
