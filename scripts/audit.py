"""Looks for mistakes with tensors in any model:
`python scripts/audit.py target=my_package.module:build_model input.features=12`."""

import sys

import hydra
from omegaconf import DictConfig

from seqmodels.launch.command_line import readable_errors


@readable_errors()
@hydra.main(version_base="1.3", config_path="../configs", config_name="audit")
@readable_errors()
def main(config: DictConfig) -> None:
    target = config.target  # an absent one is found before slow imports
    from rich import print

    from seqmodels.audit import audit
    from seqmodels.audit.find_model import find_model, random_batch
    from seqmodels.audit.table import findings_table

    model = find_model(target)
    inputs, lengths = random_batch(**config.input, seed=config.seed)
    result = audit(model, inputs, lengths, config.kind, config.causal, seed=config.seed)
    print(findings_table(result, target))
    sys.exit(1 if result.findings else 0)


if __name__ == "__main__":
    main()
