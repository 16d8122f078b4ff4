"""Text from a language model: `python scripts/generate.py run=<folder> prompt="def "`."""

import sys
import time

import hydra
from omegaconf import DictConfig

from seqmodels.launch.command_line import readable_errors, take_text

PROMPT = take_text("prompt")


@readable_errors()
@hydra.main(version_base="1.3", config_path="../configs", config_name="generate")
@readable_errors()
def main(config: DictConfig) -> None:
    run_folder = config.run  # an absent one is found before slow imports
    from seqmodels.imports import import_modules
    from seqmodels.runs import load_run

    import_modules(config.imports)
    run = load_run(run_folder, config.checkpoint, allowed_targets=config.allowed_targets)
    prompt = config.prompt if PROMPT is None else PROMPT
    pieces = run.generate(
        prompt,
        config.length,
        config.accelerator,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        seed=config.seed,
    )
    started = time.perf_counter()
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    speed = config.length / (time.perf_counter() - started)
    print()
    print(f"{config.length} tokens, {speed:,.0f} tokens/s", file=sys.stderr)


if __name__ == "__main__":
    main()
