"""Show which tensor feeds what, without training.

python scripts/explain.py model.head=bidirectional_concat model.encoder.num_layers=2
"""

import sys

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from seqmodels.launch.command_line import composed
from seqmodels.launch.hydra_setup import as_typed


@composed("explain")
def main(config: DictConfig) -> None:
    from seqmodels.launch.checks import check_settings
    from seqmodels.plugins import import_modules

    check_settings(config, as_typed(HydraConfig.get().overrides.task), "explain")
    import_modules(config.imports)
    from seqmodels.dataflow.explain import explain

    if not all(identity.holds for identity in explain(config)):
        sys.exit(1)
