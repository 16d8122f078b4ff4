"""Show which tensor feeds what, without training.

python scripts/explain.py model.head=bidirectional_concat model.encoder.num_layers=2
"""

import sys

from omegaconf import DictConfig

from seqmodels.launch.command_line import composed


@composed("explain")
def main(config: DictConfig) -> None:
    from seqmodels.heads import find_head
    from seqmodels.imports import import_modules

    import_modules(config.imports)
    find_head(config.model.head)  # now, because the next import is slow
    from seqmodels.dataflow.explain import explain

    if not all(identity.holds for identity in explain(config)):
        sys.exit(1)


if __name__ == "__main__":
    main()
