from __future__ import annotations

import sys
from itertools import chain
from typing import Annotated

from pydantic import Field

from seqmodels.arguments import Name, Natural, NonNegative, Seed
from seqmodels.launch.command_line import Accelerator, Checkpoint, Names, command, named_run


@command
def main(
    run: Name,
    *,
    prompt: str = "",
    length: Natural = 400,
    temperature: NonNegative = 0.8,
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = "best",
    accelerator: Accelerator = "auto",
    imports: Names = (),
    allowed_targets: Names = (),
) -> None:
    """Continue a prompt with a language model.

    python scripts/generate.py run=runs/<folder> prompt="def" length=400

    Args:
        run: the run folder of a language model.
        prompt: used exactly as written, with its spaces; empty: the start of a text.
        length: tokens.
        temperature: 0: always the most likely token.
        top_p: draw only from the most likely tokens that together have this probability.
        seed: of the draws.
    """
    from seqmodels.screen import visible

    finished = named_run(run, checkpoint, imports, allowed_targets)
    draws = {"temperature": temperature, "top_p": top_p, "seed": seed}
    pieces = finished.generate(prompt, length, accelerator, **draws)
    shown = visible if sys.stdout.isatty() else str  # a file gets every character as it is
    for piece in chain([prompt], pieces):
        print(shown(piece), end="", flush=True)
    print()
