"""Show which tensor feeds what, without training."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqmodels.arguments import Name, arguments, validated
from seqmodels.launch.composed import composed


@dataclass
class Keys:
    """Of `configs/explain.yaml`; what `model` holds is checked where it is built."""

    folder: Name
    imports: list[Name] | Name
    allowed_targets: list[Name]
    model: dict[str, Any]
    callbacks: Any = None  # of some models


@composed("explain")
def main(config: DictConfig) -> None:
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    validated(arguments(Keys), plain)
    from seqmodels.plugins import import_modules

    import_modules(config.imports)
    from seqmodels.dataflow.explain import explain

    explain(config)
