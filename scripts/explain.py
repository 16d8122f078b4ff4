"""Which tensor feeds what, without training: `python scripts/explain.py model.head=mean_pool`."""

import sys

import hydra
from omegaconf import DictConfig

from seqmodels.launch.command_line import readable_errors


@readable_errors()
@hydra.main(version_base="1.3", config_path="../configs", config_name="explain")
@readable_errors()
def main(config: DictConfig) -> None:
    from seqmodels.heads import find_head  # so that a wrong name is found before slow imports
    from seqmodels.imports import import_modules

    import_modules(config.imports)
    find_head(config.model.head)
    from seqmodels.dataflow.explain import explain

    if not all(identity.holds for identity in explain(config)):
        sys.exit(1)


if __name__ == "__main__":
    main()
