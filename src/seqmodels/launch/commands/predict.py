"""Predict for new inputs: one JSON line per input, or, on a terminal, words in colours of tags.

python scripts/predict.py run=runs/<folder> input=new.csv > predictions.jsonl
python scripts/predict.py run=[runs/<folder>,runs/<another>] input=new.csv  # by the mean of both
"""

import json
import sys
from types import SimpleNamespace

from seqmodels.launch.command_line import command, named_run


@command("predict")
def main(config: SimpleNamespace) -> None:
    from rich.progress import track

    from seqmodels.errors import UserError
    from seqmodels.screen import Screen, visible

    run = named_run(config)
    inputs = run.data.read_inputs(config.input)
    names = ("beam", "best", "unknown")
    options = {name: value for name in names if (value := getattr(config, name))}
    predictions = run.predict(
        inputs, config.input, config.accelerator, blend=config.blend, **options
    )
    screen = Screen(stderr=True)
    if run.members:
        screen.print(run.name)
    terminal = sys.stdout.isatty()  # which shows the predictions themselves
    show = run.task.contract.kind.show if terminal else None
    lines_of = show() if show else lambda prediction: ()
    hidden = terminal or not screen.is_terminal
    shown = track(predictions, "predicting", console=screen, disable=hidden, transient=True)
    for number, prediction in enumerate(shown, start=1):
        if lines := [*lines_of(prediction)]:
            for text in lines:
                Screen().print(text)
            continue
        try:
            line = json.dumps(prediction, ensure_ascii=False, allow_nan=False)
        except ValueError as error:  # nan or infinity, which JSON does not have
            raise UserError(
                f"{config.input}: the prediction for input {number} is not a number: "
                "are its values very large?"
            ) from error
        sys.stdout.write(visible(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
