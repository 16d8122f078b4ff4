"""Check any model for mistakes with tensors.

python scripts/audit.py target=my_package.module:build_model input.features=12
"""

import sys
from types import SimpleNamespace

from seqmodels.launch.command_line import command


@command("audit")
def main(config: SimpleNamespace) -> None:
    from seqmodels.audit import audit
    from seqmodels.audit.find_model import find_model, random_batch
    from seqmodels.audit.table import findings_table
    from seqmodels.screen import Screen

    model = find_model(config.target)
    padding = config.padding
    inputs, lengths = random_batch(**vars(config.input), seed=config.seed, padding=padding or 0)
    more = {"padding": padding, "seed": config.seed}
    result = audit(model, inputs, lengths, config.kind, config.causal, **more)
    Screen().print(findings_table(result, config.target))
    sys.exit(1 if result.findings else 0)


if __name__ == "__main__":
    main()
