"""What a search has found: a table, pictures, the winner as an experiment, and its comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from seqmodels.compare.comparison import Comparison, compare
from seqmodels.compare.settings import short_keys, shown_labels
from seqmodels.compare.tables import metric_header, rich_table
from seqmodels.engine.metrics import more_is_better, show, show_with_unit
from seqmodels.files import write_text
from seqmodels.installation import as_started
from seqmodels.launch.search import Search
from seqmodels.plain_values import change, flattened
from seqmodels.runs.folder import as_override

MOST_TRIALS = 10  # in the table
# groups of which the winner's file holds the values, not the name of the file
BY_VALUE = ("callbacks", "debug", "experiment", "hparams_search", "local")
OF_SWEEP = ("folder", "hydra", "resume", "sweep", "paths")  # keys that say how it was run


def report(search: Search, console: Console) -> None:
    """Show the best trials, and write `trials.csv`, pictures, and the winner as an experiment."""
    best, folder = search.best(), search.folder
    completed, pruned, failed = (len(search.of_state(n)) for n in ("COMPLETE", "PRUNED", "FAIL"))
    console.print(rich_table(_rows(search), 1 + len(search.space), best_first=True))
    console.print(
        f"{completed} of {completed + pruned + failed} trials completed, {pruned} were pruned and "
        f"{failed} failed. Trial {best.number} is the best by {search.metric}: "
        f"{show_with_unit(search.metric, best.value)}."
    )
    table = search.study.trials_dataframe().replace({"state": {"RUNNING": "FAIL"}})
    table.to_csv(folder / "trials.csv", index=False)
    (folder / "experiment").mkdir(exist_ok=True)
    write_text(folder / "experiment" / "winner.yaml", winner(search, best))
    for path in (folder / "trials.csv", *_pictures(search, console)):
        console.print(f"{path}", soft_wrap=True)
    words = f"--config-dir {as_override('', folder)[1:]} experiment=winner"
    console.print(as_started(f"train it: python scripts/train.py {words}\n"), soft_wrap=True)


def _rows(search: Search) -> list[list[str]]:
    """The header and the best trials, the best first."""
    sign = -1 if more_is_better(search.metric) else 1
    trials = [t for t in search.trials if t.value is not None and math.isfinite(t.value)]
    trials.sort(key=lambda t: (t.state.name != "COMPLETE", sign * t.value))
    rows = [["trial", *short_keys([*search.space]), metric_header(search.metric), "status"]]
    for trial in trials[:MOST_TRIALS]:
        values = [trial.params.get(key) for key in search.space]
        texts = [f"{value:.4g}" if isinstance(value, float) else f"{value}" for value in values]
        status = "completed" if trial.state.name == "COMPLETE" else "pruned"
        rows.append([f"{trial.number}", *texts, show(search.metric, trial.value), status])
    return rows


def _pictures(search: Search, console: Console) -> list[Path]:
    from matplotlib import pyplot
    from optuna import importance
    from optuna.visualization import matplotlib as draw

    figures: dict[str, Callable[..., Any]] = {
        "history": draw.plot_optimization_history,
        "slices": draw.plot_slice,
    }
    scores = {trial.value for trial in search.of_state("COMPLETE")}
    if len(scores) > 1 and len(search.space) > 1:  # nothing explains equal scores
        judge = importance.FanovaImportanceEvaluator(seed=0)
        shares = importance.get_param_importances(search.study, evaluator=judge)
        listed = zip(short_keys([*shares]), shares.values(), strict=True)
        console.print("importance: " + ", ".join(f"{key} {share:.2f}" for key, share in listed))
        figures["importances"] = partial(draw.plot_param_importances, evaluator=judge)
    pyplot.switch_backend("agg")  # Optuna draws with pyplot
    paths = []
    with pyplot.rc_context():  # it sets a style for all later figures, too
        for name, plot in figures.items():
            axes = np.ravel(plot(search.study, target_name=search.metric))
            for each in axes if name == "slices" else ():
                each.tick_params("x", which="both", rotation=45)  # names and powers are long
            axes[0].figure.set_size_inches(3.5 + 3.5 * len(axes), 4.5)
            paths.append(search.folder / f"{name}.png")
            axes[0].figure.savefig(paths[-1], dpi=160, bbox_inches="tight")
            pyplot.close(axes[0].figure)
    return paths


def winner(search: Search, best: Any) -> str:
    """A file that gives the winner's configuration to `experiment=`: the files that it chooses, and
    the values that it changes in them."""
    words = search.words(best)
    default, whole = (compose("train", each, return_hydra_config=True) for each in ([], words))
    chosen = {
        group: name
        for group, name in whole.hydra.runtime.choices.items()
        if name != default.hydra.runtime.choices.get(group)
        and isinstance(name, str)
        and not group.startswith(("hydra/", *BY_VALUE))
    }
    before = _values(compose("train", [f"{group}={name}" for group, name in chosen.items()]))
    changes: dict[str, Any] = {"defaults": [{f"override /{g}": n} for g, n in chosen.items()]}
    changes["defaults"].append("_self_")
    values = {k: v for k, v in _values(whole).items() if k not in before or before[k] != v}
    removed = [word.removeprefix("~").partition("=")[0] for word in words if word[0] == "~"]
    change(changes, {**values, **dict.fromkeys(removed)})
    score = show_with_unit(search.metric, best.value)
    title = f"# trial {best.number} of {search.folder.name}: {search.metric} {score}"
    return f"# @package _global_\n{title}\n{OmegaConf.to_yaml(OmegaConf.create(changes))}"


def _values(config: DictConfig) -> dict[str, Any]:
    flat = flattened(OmegaConf.to_container(config, resolve=False))
    return {key: value for key, value in flat.items() if key.partition(".")[0] not in OF_SWEEP}


def compare_with_default(
    search: Search, runs: Sequence[str], *, different_data: bool
) -> Comparison:
    """Compare the winner with the default by their runs with fresh seeds, in these folders.

    The test split ranks, because the choice has been made by validation. The two settings are
    called what their tags say, not by the values that tell them apart.
    """
    metric = search.metric.replace("validation/", "test/")
    places = [str(search.folder / run) for run in runs]
    found = compare(places, metric, different_data=different_data)
    sections = []
    for section in found.sections:
        settings = [
            replace(s, name=shown_labels("tags", s.records), values=()) for s in section.settings
        ]
        sections.append(replace(section, settings=settings))
    grouping = replace(found.grouping, keys=[], same={}, tied={})
    return replace(found, grouping=grouping, sections=sections)
