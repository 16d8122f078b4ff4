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
    callbacks: Any = None  # of some models


@partial(composed, "explain")
def main(config: DictConfig) -> None:
    validated(arguments(Keys), resolved(config))
    from seqmodels.plugins import import_modules

    import_modules(config.imports)
    from seqmodels.dataflow.explain import explain

    explain(config)
