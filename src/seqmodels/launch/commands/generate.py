"""Continue a prompt with a language model.

python scripts/generate.py run=runs/<folder> prompt="def " length=400
"""

import sys
import time
from types import SimpleNamespace

from seqmodels.launch.command_line import command, named_run


@command("generate")
def main(config: SimpleNamespace) -> None:
    from seqmodels.screen import visible

    run = named_run(config)
    pieces = run.generate(
        config.prompt,
        config.length,
        config.accelerator,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        seed=config.seed,
    )
    started = time.perf_counter()
    shown = visible if sys.stdout.isatty() else str  # a file gets every character as it is
    sys.stdout.write(shown(config.prompt))
    for piece in pieces:
        sys.stdout.write(shown(piece))
        sys.stdout.flush()
    speed = config.length / (time.perf_counter() - started)
    print()
    print(f"{config.length} tokens, {speed:,.0f} tokens/s", file=sys.stderr)
