from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from omegaconf import OmegaConf

import seqmodels
from seqmodels.batch import SequenceBatch
from seqmodels.callbacks.best_checkpoint import BestCheckpoint
from seqmodels.callbacks.last_checkpoint import LastCheckpoint
from seqmodels.compare.comparison import compare
from seqmodels.data import UEA, Text
from seqmodels.data.baseline_features import baseline_features
from seqmodels.errors import UserError
from seqmodels.instantiate import instantiate
from seqmodels.machine import fastest_precision, find_device, waiting_threads
from seqmodels.runs import Run, Trainer, load_run, train
from seqmodels.runs.metrics_file import MetricsFile, read_metrics
from seqmodels.tasks.classification import SequenceClassifier
from tests.conftest import Config, Script, result_of
from tests.runs.resumed import Stop, weights
from tests.shipped import CLASSIFIER_HEADS


@pytest.mark.pictures
def test_a_run_leaves_everything_in_its_folder(config: Config) -> None:
    settings = config("model.head=max_pool", "seed=3")
    result = train(settings, overrides=["model.head=max_pool", "seed=3"])
    folder = Path(settings.folder)
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == {
        "config.yaml",
        "overrides.yaml",
        "environment.json",
        "metrics.csv",
        "predictions.csv",
        "scores.csv",
        "train.log",
        "lock",
        "dataflow.svg",
        "result.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "figures/learning_curves.png",
        "figures/confusion_matrix.png",
    }
    assert result_of(folder) == result
    assert result["status"] == "completed" and result["error"] is None
    assert (result["task"], result["data"]) == ("SequenceClassifier", "JapaneseVowels")
    assert (result["head"], result["reads"], result["seed"]) == ("max_pool", ["output"], 3)
    assert set(result["metrics"]) == {
        f"{stage}/{name}"
        for stage in ("validation", "test")
        for name in ("accuracy", "loss", "macro_f1")
    }
    assert result["parameters"] == 4 * 16 * (12 + 16 + 2) + 9 * 17
    assert result["examples_per_second"] > 0 and set(result["seconds"]) == {
        "setup",
        "fit",
        "test",
        "total",
    }
    assert OmegaConf.load(folder / "overrides.yaml") == [
        {"step": 0, "overrides": ["model.head=max_pool", "seed=3"], "changes": {}}
    ]
    saved = OmegaConf.load(folder / "config.yaml")
    assert saved.model.head == "max_pool" and saved.data.seed == 3  # resolved
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["packages"]["seqmodels"] == seqmodels.__version__
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(row["train/loss"] and row["validation/accuracy"] for row in rows)
    for picture in folder.glob("figures/*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000


def test_a_run_prints_the_sizes_of_its_splits_before_training(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = train(config("baseline=false"))["examples"]
    shown = ", ".join(f"{split} {size}" for split, size in sizes.items())
    assert capsys.readouterr().out.startswith(f"JapaneseVowels: {shown}\n")


FIRST = """
import gc, os, sys
from lightning.pytorch.callbacks import Callback

class First(Callback):
    def on_train_batch_start(self, *_):
        print(gc.isenabled(), *sys.modules, flush=True)
        os._exit(0)
"""


def test_the_first_step_waits_for_no_import_of_what_comes_later(
    process: Script, tmp_path: Path
) -> None:
    (tmp_path / "first.py").write_text(FIRST)
    shown = process("train.py", "imports=[first]", "+callbacks.first._target_=first.First").stdout
    enabled, *modules = shown.splitlines()[-1].split()
    assert enabled == "True"  # the collector of garbage
    assert not {"sktime", "sklearn", "pandas", "datasets"} & set(modules)


@pytest.mark.parametrize("head", CLASSIFIER_HEADS)
def test_every_head_trains_by_its_name_alone(config: Config, head: str) -> None:
    result = train(config(f"model.head={head}", "trainer.max_epochs=1"))
    assert result["status"] == "completed" and result["head"] == head


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_every_cell_trains(config: Config, cell: str) -> None:
    overrides = (f"model.encoder.cell={cell}", "model.encoder.num_layers=2")
    assert train(config(*overrides, "model.encoder.dropout=0.1"))["status"] == "completed"


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    config: Config, tmp_path: Path
) -> None:
    runs = [
        train(config(f"seed={seed}", f"folder={tmp_path / str(number)}"))["metrics"]
        for number, seed in enumerate((0, 0, 1))
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (_FitLoop, "_iteration_based_training"),
        (_SignalConnector, "register_signal_handlers"),
        (_TrainingEpochLoop, "_broadcast_sigterm_tensor"),
    ],
)
def test_a_lightning_that_has_renamed_what_is_replaced_is_one_line(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(UserError, match=f"^lightning {pl.__version__} has no {name}, which"):
        Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)


@pytest.mark.parametrize(("steps", "epochs"), [(5, [0]), (14, [0]), (20, [0, 1])])
def test_a_run_that_ends_within_an_epoch_is_validated_and_saved(
    config: Config, steps: int, epochs: list[int]
) -> None:
    settings = config(f"trainer.max_steps={steps}", "trainer.max_epochs=60", "baseline=false")
    result = train(settings)
    rows = read_metrics(Path(settings.folder) / "metrics.csv")
    assert [row["epoch"] for row in rows] == epochs
    assert all(row["validation/loss"] > 0 for row in rows)
    assert result["metrics"]["validation/loss"] == pytest.approx(
        min(row["validation/loss"] for row in rows)
    )
    last = torch.load(Path(settings.folder) / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == steps


def test_a_part_that_is_limited_to_nothing_has_no_metrics(config: Config) -> None:
    limits = ("trainer.limit_val_batches=0", "callbacks.checkpoint.monitor=train/loss")
    first_is_best = ("callbacks.checkpoint.mode=max", "trainer.max_epochs=4")
    settings = config(*limits, *first_is_best, "baseline=false")
    metrics = train(settings)["metrics"]
    assert {name.partition("/")[0] for name in metrics} == {"test"}
    assert metrics == load_run(settings.folder).evaluate(accelerator="cpu")
    other = f"folder={settings.folder}_other"
    settings = config("trainer.limit_test_batches=0", "baseline=false", other)
    metrics = train(settings)["metrics"]
    assert {name.partition("/")[0] for name in metrics} == {"validation"}
    compared = compare([settings.folder])
    assert compared.metric == "validation/accuracy"


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # of Lightning
@pytest.mark.parametrize(
    "never", ["trainer.limit_val_batches=0", "trainer.check_val_every_n_epoch=99"]
)
def test_without_a_validation_the_last_weights_are_tested(config: Config, never: str) -> None:
    settings = config(never, "baseline=false")
    tested = {k: v for k, v in train(settings)["metrics"].items() if k.startswith("test/")}
    last = load_run(settings.folder, checkpoint="last")
    assert tested and tested == last.evaluate("test", accelerator="cpu")


@pytest.mark.parametrize(
    ("overrides", "again"),
    [
        ((), 0),
        (("trainer.val_check_interval=4", "trainer.limit_val_batches=2"), 0),
        (("callbacks.checkpoint.monitor=null",), 0),
        (("+callbacks=ema", "trainer.max_epochs=3"), 0),
        (("callbacks.checkpoint=null",), 1),  # the last weights, which may be any
        (("trainer.overfit_batches=2",), 1),  # of the training split
    ],
)
def test_the_best_checkpoint_is_validated_once(
    config: Config, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], again: int
) -> None:
    fitted, evaluated = [], []

    def count(self: SequenceClassifier, batch: SequenceBatch) -> None:
        (fitted if self.trainer.state.fn == "fit" else evaluated).append(len(batch))
        step(self, batch)

    step = SequenceClassifier.validation_step
    monkeypatch.setattr(SequenceClassifier, "validation_step", count)
    settings = config("baseline=false", *overrides)
    metrics = train(settings)["metrics"]
    assert fitted and bool(evaluated) == bool(again)
    if "overfit" in "".join(overrides) or "checkpoint=null" in "".join(overrides):
        return
    # the numbers are those of another validation with the same weights
    data: UEA = instantiate(settings.data)
    task = SequenceClassifier.load_from_checkpoint(
        Path(settings.folder) / "checkpoints" / "best.ckpt"
    )
    limit = settings.trainer.limit_val_batches
    trainer = pl.Trainer(
        accelerator="cpu", limit_val_batches=limit, logger=False, enable_progress_bar=False
    )
    [measured] = trainer.validate(task, datamodule=data, verbose=False)
    found = {name: value for name, value in metrics.items() if name.startswith("validation/")}
    assert list(found.items()) == list(measured.items())


def test_a_resumed_run_without_a_better_state_validates_the_best_one(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config("baseline=false")
    first = train(settings)["metrics"]
    resumed = config(f"resume={settings.folder}")
    # nothing that it validates is better
    monkeypatch.setattr(BestCheckpoint, "check_monitor_top_k", lambda *_: False)
    metrics = train(resumed, ["trainer.max_epochs=3"])["metrics"]
    assert metrics == first


class Spoil(Callback):
    """Does to the weights of the second epoch what too high a learning rate does."""

    def on_train_batch_start(self, trainer, pl_module, *args: object) -> None:
        if trainer.global_step == 20:
            torch.nn.init.constant_(pl_module.head.output.project.weight, torch.nan)


def test_a_training_that_diverges_ends_with_a_sentence_and_the_weights_before(
    config: Config,
) -> None:
    settings = config(
        f"+callbacks.spoil={{_target_:{Spoil.__module__}.Spoil}}",
        f"allowed_targets=[{Spoil.__module__}.Spoil]",
        "baseline=false",
    )
    with pytest.raises(UserError, match="validation/loss is nan after 28 steps, so .* diverged"):
        train(settings)
    folder = Path(settings.folder)
    assert "has diverged" in result_of(folder)["error"]
    for name in ("best", "last"):
        assert all(value.isfinite().all() for value in weights(folder, name).values())


def test_a_finished_run_evaluates_to_the_same_numbers(config: Config) -> None:
    settings = config("model.head=attention_pool")
    result = train(settings)
    run = load_run(settings.folder)
    for split in ("test", "validation"):
        metrics = run.evaluate(split, accelerator="cpu")
        assert metrics == {k: v for k, v in result["metrics"].items() if k.startswith(split)}
    assert load_run(settings.folder, batch_size=5).evaluate(accelerator="cpu") == pytest.approx(
        {k: v for k, v in result["metrics"].items() if k.startswith("test")}
    )
    with pytest.raises(UserError, match="split=tset: .* did you mean test"):
        run.evaluate("tset")


def test_predictions_come_in_order_and_equal_one_by_one(config: Config) -> None:
    settings = config("model.head=max_pool")
    result = train(settings)
    run = load_run(settings.folder, batch_size=7)
    data = UEA("JapaneseVowels")
    data.setup()
    test = data.examples["test"]
    predictions = list(run.predict(test.inputs))
    assert len(predictions) == 370
    right = np.mean([p["label"] == label for p, label in zip(predictions, test.targets)])
    assert right == pytest.approx(result["metrics"]["test/accuracy"])
    for index in (0, 100, 369):
        [alone] = run.predict([test.inputs[index]])
        assert alone["probabilities"] == pytest.approx(
            predictions[index]["probabilities"], abs=1e-6
        )
        assert alone["label"] == max(alone["probabilities"], key=alone["probabilities"].get)
        assert sum(alone["probabilities"].values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("header", "not a list of inputs, but one str: write"),
        (b"header", "not a list of inputs, but one bytes"),
        ({"text": "a film"}, "not a list of inputs, but one dict"),
        (["a film", math.nan], "an input of 1 to 2 is none for this run: "),
        (["a film", ["a", "film"]], "an input of 1 to 2 is none for this run: "),
        ([None], "an input of 1 to 1 is none for this run: "),
    ],
)
def test_what_is_not_a_list_of_texts_is_refused(reviews: Path, inputs: Any, message: str) -> None:
    data = Text(train=str(reviews))
    data.setup()
    task = SequenceClassifier(data.spec, {"hidden_size": 4}, "max_pool").eval()
    with pytest.raises(UserError, match=f"^inputs: {re.escape(message)}"):
        list(Run(Path("run"), {}, {}, task, data).predict(inputs, accelerator="cpu"))


def test_a_text_run_needs_nothing_but_its_folder_to_predict(config: Config, reviews: Path) -> None:
    settings = config(
        "data=text",
        f"data.train={reviews}",
        "model.embedding.noise=0.0",
        "trainer.max_epochs=30",
        "model.optimizer.lr=0.02",
        "data.batch_size=8",
    )
    assert train(settings)["metrics"]["test/accuracy"] == 1.0
    reviews.unlink()
    run = load_run(settings.folder)
    labels = [p["label"] for p in run.predict(["a dull film", "a FINE film"])]
    assert labels == ["bad", "good"]
    with pytest.raises(UserError, match="reviews.csv: no such file"):
        run.evaluate()


def test_checkpoints_hold_only_plain_values(config: Config) -> None:
    settings = config()
    train(settings)
    for name in ("best", "last"):
        path = Path(settings.folder) / "checkpoints" / f"{name}.ckpt"
        content = torch.load(path, weights_only=True)
        json.dumps(content["hyper_parameters"])
        assert isinstance(SequenceClassifier.load_from_checkpoint(path), SequenceClassifier)


def test_a_run_that_fails_says_so(config: Config) -> None:
    settings = config(f"+callbacks.stop={{_target_:{Stop.__module__}.Stop,step:3}}")
    with pytest.raises(UserError, match="Stop is not allowed"):
        train(settings)
    assert not Path(settings.folder).exists()  # it never began


def test_an_interrupted_run_says_so(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SequenceClassifier, "on_validation_epoch_end", interrupt)
    settings = config()
    with pytest.raises(SystemExit):
        train(settings)
    result = json.loads((Path(settings.folder) / "result.json").read_text())
    assert result["status"] == "interrupted"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.scheduler._target_=torch.optim.lr_scheduler.OneCycel"], "cannot be found"),
        (["trainer.precision=12"], "trainer.precision=12: input should be 64, 32 or 16"),
    ],
)
def test_mistakes_are_named_and_leave_no_folder(
    config: Config, overrides: list[str], message: str
) -> None:
    settings = config(*overrides)
    with pytest.raises(UserError, match=message):
        train(settings)
    assert not Path(settings.folder).exists()


def test_broken_runs_are_named(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder: it has no config.yaml"):
        load_run(tmp_path)
    with pytest.raises(UserError, match="nothing_here is not a run folder"):
        train(config("resume=nothing_here"), ())
    settings = config()
    train(settings)
    path = Path(settings.folder) / "checkpoints" / "best.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="best.ckpt is not a usable checkpoint"):
        load_run(settings.folder)
    load_run(settings.folder, checkpoint="last")


@pytest.mark.parametrize(
    ("told", "precision"),
    [({"avx512_bf16": True}, "bf16-mixed"), ({"avx512_f": True}, "32-true"), ({}, "32-true")],
)
def test_bfloat16_is_chosen_only_where_the_cpu_computes_in_it(
    told: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert fastest_precision("cpu") == precision
    assert OmegaConf.create({"a": "${fastest_precision:cpu}"}).a == precision


@pytest.mark.parametrize(
    ("loads", "cores", "threads", "said"),
    [
        ((1.94, 1.5, 0.2), 2, 2, "other programs may use 1.5 of 2 cores"),
        ((7.0, 7.9, 1.0), 8, 4, "other programs may use 7.0 of 8 cores"),
        ((0.4, 1.9, 1.9), 2, 2, None),  # they have just ended
        ((1.9, 0.3, 1.9), 2, 2, None),  # a short one before
        ((5.0, 5.0, 5.0), 8, 8, None),
        ((1.9, 1.9, 1.9), 2, 1, None),
        (None, 2, 2, None),
    ],
)
def test_a_busy_machine_is_told_of_with_the_cure(
    config: Config,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    loads: tuple[float, ...] | None,
    cores: int,
    threads: int,
    said: str | None,
) -> None:
    if loads:
        monkeypatch.setattr("os.getloadavg", lambda: loads)
    else:
        monkeypatch.delattr("os.getloadavg")
    monkeypatch.setattr("seqmodels.machine._running_now", lambda: 9)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    waiting_threads.cache_clear()
    try:
        found = waiting_threads()
        assert len(found) == (said is not None)
        assert all(each.startswith(str(said)) and "OMP_NUM_THREADS=1" in each for each in found)
        if said:  # by what has ended since
            monkeypatch.setattr("seqmodels.machine._running_now", lambda: 0)
            waiting_threads.cache_clear()
            assert waiting_threads() == ()
            monkeypatch.setattr("seqmodels.machine._running_now", lambda: 9)
            waiting_threads.cache_clear()
        if cores == 8 and said:  # a run shows it before it trains
            train(config("baseline=false", "trainer.max_epochs=1"))
            assert found[0] in capsys.readouterr().out.splitlines()[0]
    finally:
        waiting_threads.cache_clear()


def test_devices_by_name() -> None:
    assert find_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="accelerator=gpuu: .* did you mean gpu"):
        find_device("gpuu")


# ---------------------------------------------------------------- what a person sees beside it


def test_the_metrics_of_an_epoch_are_written_before_the_checkpoint_of_its_end(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, save = list[list[dict[str, float]]](), LastCheckpoint._save

    def saved(self: LastCheckpoint, trainer: Any) -> None:
        save(self, trainer)
        written.append(read_metrics(self.path.parents[1] / "metrics.csv"))

    monkeypatch.setattr(LastCheckpoint, "_save", saved)
    train(config("baseline=false", "trainer.max_epochs=2"))
    assert [len(rows) for rows in written] == [1, 2]
    # a run that is killed now has them: they are not logged again
    assert all({"train/loss", "validation/loss"} <= rows[-1].keys() for rows in written)


def test_metrics_file_goes_on_and_replaces_what_is_trained_again(tmp_path: Path) -> None:
    first = MetricsFile(str(tmp_path))
    for epoch in range(4):
        first.log_metrics({"epoch": epoch, "a": 10.0 + epoch}, step=epoch * 5)
        first.log_metrics({"epoch": epoch, "b": 20.0 + epoch}, step=epoch * 5)
    first.save()
    second = MetricsFile(str(tmp_path))
    second.starts(Mock(pl.Trainer, training=False, global_step=11, current_epoch=2))
    second.log_metrics({"a": 99.0}, step=10)  # of a callback that does not know the epoch
    second.log_metrics({"epoch": 3, "c": 1.0}, step=15)
    second.save()
    assert read_metrics(tmp_path / "metrics.csv") == [
        {"epoch": 0, "step": 0, "a": 10.0, "b": 20.0},
        {"epoch": 1, "step": 5, "a": 11.0, "b": 21.0},
        {"epoch": 2, "step": 10, "a": 99.0, "b": 22.0},
        {"epoch": 3, "step": 15, "c": 1.0},
    ]


def test_a_metrics_file_is_its_rows_in_order_whenever_it_is_saved(tmp_path: Path) -> None:
    for seed in range(30):
        random, path = Random(seed), tmp_path / str(seed) / "metrics.csv"
        path.parent.mkdir()
        file, rows, step = MetricsFile(str(path.parent)), dict[int, dict[str, float]](), 0
        for _ in range(60):
            if random.random() < 0.05:  # a resume
                file.save()
                file, step = MetricsFile(str(path.parent)), random.randint(0, step + 2)
                file.starts(Mock(pl.Trainer, training=False, global_step=step, current_epoch=0))
                rows = {at: row for at, row in rows.items() if at < step}
            step += random.choice((0, 0, 1, 2))
            at = step if random.random() < 0.9 else max(0, step - random.randint(0, 4))
            new = {"epoch": at // 10, random.choice("abcdef"): random.random()}
            file.log_metrics(new, step=at)
            rows.setdefault(at, {"step": at}).update(new)
            if random.random() < 0.3:
                file.save()
        file.save()
        assert read_metrics(path) == [rows[at] for at in sorted(rows)]


def test_a_resume_changes_no_digit_and_no_column_of_the_metrics_it_keeps(tmp_path: Path) -> None:
    path, kept = (
        tmp_path / "metrics.csv",
        "epoch,step,a,b\n0,3,1.50,\n0,4,0.1000000000000000055,1e-3\n",
    )
    path.write_text(kept + "1,9,7,\n")
    file = MetricsFile(str(tmp_path))
    file.starts(Mock(pl.Trainer, training=False, global_step=5, current_epoch=0))
    file.finalize("failed")  # before anything was logged, as where a resume is refused
    assert path.read_text() == kept + "1,9,7,\n"
    file = MetricsFile(str(tmp_path))
    file.starts(Mock(pl.Trainer, training=False, global_step=5, current_epoch=0))
    file.log_metrics({"a": 0.25}, step=5)
    file.save()
    assert path.read_text() == kept + "0,5,0.25,\n"


@pytest.mark.parametrize("text", ["epoch,step\n1,2,3\n", "epoch,step\n1,\0\n", "step\n1\n", "\xff"])
def test_broken_metrics_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.csv").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"metrics\.csv is not the metrics of a run"):
        read_metrics(tmp_path / "metrics.csv")


def test_a_kill_while_metrics_are_written_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    file, path = MetricsFile(str(tmp_path)), tmp_path / "metrics.csv"
    for step in (1, 3):
        file.log_metrics({"epoch": 0, "a": 1.0 * step}, step=step)
    file.save()
    before = path.read_bytes()
    file.log_metrics({"epoch": 0, "b": 4.0}, step=3)
    with monkeypatch.context() as within, pytest.raises(KeyboardInterrupt):
        within.setattr("os.fsync", killed)
        within.setattr("pathlib.Path.replace", killed)
        within.setattr("os.replace", killed)
        file.save()
    assert path.read_bytes() == before
    file = MetricsFile(str(tmp_path))
    file.log_metrics({"epoch": 0, "b": 4.0}, step=3)
    file.save()
    assert read_metrics(path)[1:] == [{"epoch": 0, "step": 3, "a": 3.0, "b": 4.0}]


def test_baselines_of_series_are_the_majority_and_a_linear_model() -> None:
    data = UEA("JapaneseVowels")
    data.setup()
    found = data.baselines()["test/accuracy"]
    labels = list(data.examples["test"].targets)
    # classes of the training part are equally frequent, so the majority is the first met
    shares = [labels.count(c) / len(labels) for c in data.spec["classes"]]
    assert found["majority class"] in [pytest.approx(share) for share in shares]
    _, features, _ = baseline_features(data)

    def summary(part):  # by hand
        return np.array([np.r_[x.mean(0), x.std(0)] for x in part.inputs])

    reference = summary(data.examples["train"])
    expected = (summary(data.examples["test"]) - reference.mean(0)) / reference.std(0)
    np.testing.assert_allclose(features["test"], expected, rtol=1e-4, atol=1e-4)
    assert found["logistic regression on channel means and deviations"] > 0.95


def test_baselines_see_characters_where_the_model_does(tmp_path: Path) -> None:
    file = tmp_path / "names.csv"  # the class is the end of a word that no other row has
    starts = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeo" for c in "lmpt"]
    rows = [f"mr {start}{('ova', 'sen')[i % 2]},{i % 2}" for i, start in enumerate(starts)]
    file.write_text("text,label\n" + "\n".join(rows) + "\n")
    found = {}
    for level in ("char", "word"):
        data = Text(str(file), tokenizer=level, min_count=1)
        data.setup()
        found[level] = data.baselines()["test/accuracy"]["logistic regression on tf-idf"]
    assert found["char"] == 1.0 != found["word"]


def test_baselines_are_kept_by_fingerprint(reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Text(str(reviews))
    data.setup()
    first = data.baselines()
    assert first["test/accuracy"]["logistic regression on tf-idf"] == 1.0
    monkeypatch.setattr(Text, "compute_baselines", lambda _: {})
    assert data.baselines() == first
    for other in (Text(str(reviews), split_seed=1), Text(str(reviews), lowercase=True)):
        other.setup()
        assert other.baselines() == {}
    monkeypatch.setattr("seqmodels.data.module.BASELINES", 0)  # those of another version
    assert data.baselines() == {}
