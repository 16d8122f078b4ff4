"""Show which tensor feeds what, without training.

python scripts/explain.py model.head=bidirectional_concat model.encoder.num_layers=2
"""

import sys

from omegaconf import DictConfig

from seqmodels.launch.command_line import composed


@composed("explain")
def main(config: DictConfig) -> None:
    from seqmodels.launch.checks import check_head

    check_head(config)
    from seqmodels.dataflow.explain import explain

    if not all(identity.holds for identity in explain(config)):
        sys.exit(1)


if __name__ == "__main__":
    main()
