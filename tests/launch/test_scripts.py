"""The scripts from their command lines, called from another folder."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seqmodels.runs.folder import read_metrics
from tests.conftest import ROOT, Script, command, result_of
from tests.launch.conftest import QUICK, Trained
from tests.launch.test_error_lines import FILES
from tests.pages import read, shell_lines, words_missing
from tests.runs.two_processes import train_as_one

PLAIN = ("audit", "compare", "device", "evaluate", "export", "generate", "predict")
SERIES = [json.dumps([[0.1 * step] * 12] * 9) for step in range(5)]


def test_a_training_says_what_its_head_reads_its_scores_and_where_it_lies(trained: Trained) -> None:
    run, said = trained.folder, trained.stdout
    assert re.search(r"h_n .*\(L, D, B, H\) .*\(1, 1, 16, 16\) .*head: layer 1, 100%", said)
    assert not re.search(r"(output|c_n) .*head", said)
    accuracy = result_of(run)["metrics"]["test/accuracy"]
    assert "accuracy" in said and f"{100 * accuracy:.2f} %" in said
    assert "majority class" in said and "logistic regression" in said
    assert "run folder: runs/mine\n" in said
    for shown in shell_lines(read(ROOT / "README.md")):  # what README shows, but for numbers
        if shown.line.endswith("train.py model.head=last_hidden"):
            assert words_missing(shown.output, said) == set()
    assert "train 216, validation 54, test 370" in (run / "train.log").read_text()
    assert {path.name for path in run.parents[1].iterdir()} == {"cache", "runs"}
    assert [*run.parent.iterdir()] == [run]  # none of Hydra's own


def test_a_run_is_evaluated_on_its_test_split_or_on_a_file(
    trained: Trained, script: Script, tmp_path: Path
) -> None:
    again = script("evaluate.py", f"run={trained.folder}", "accelerator=cpu")
    accuracy = result_of(trained.folder)["metrics"]["test/accuracy"]
    assert f"{100 * accuracy:.2f} %" in again.stdout
    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text("\n".join(json.dumps({"series": [[0.1] * 12], "label": n}) for n in (1, 2)))
    of_file = script("evaluate.py", f"run={trained.folder}", f"file={labelled}", "accelerator=cpu")
    assert re.search(r"metric .* file .*\n.*\n. accuracy ", of_file.stdout), of_file.stderr


def test_predictions_are_a_line_each_until_nobody_reads_them(
    trained: Trained, script: Script, tmp_path: Path
) -> None:
    words = (f"run={trained.folder}", "input=-", "accelerator=cpu")
    done = script("predict.py", *words, stdin="\n".join(SERIES))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 5 and all(line["label"] in line["probabilities"] for line in lines)
    assert done.stderr == ""
    (tmp_path / "inputs.jsonl").write_text("\n".join(500 * SERIES))
    with (
        (tmp_path / "inputs.jsonl").open() as stdin,
        subprocess.Popen(
            command("predict.py", *words),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as predicting,
    ):
        assert predicting.stdout and predicting.stderr
        first = json.loads(predicting.stdout.readline())
        predicting.stdout.close()  # as `head` does
        assert predicting.stderr.read() == "" and predicting.wait() == 1
    assert first["probabilities"] == pytest.approx(lines[0]["probabilities"])


# ---------------------------------------------------------------- help


def test_help_is_one_screen_that_names_each_key(script: Script) -> None:
    for name in PLAIN:
        done = script(f"{name}.py", "unread=1", "--help")
        assert f"python scripts/{name}.py " in done.stdout and done.stdout.count("\n") <= 50
        main = importlib.import_module(f"seqmodels.launch.commands.{name}").main
        for key in inspect.signature(main).parameters.keys() - {"places"}:
            assert re.search(rf"^    {key}[.:]", done.stdout, re.MULTILINE), key
    done = script("train.py", "--help")
    for words in ("which tensor feeds its head", "japanese_vowels", "head: concat_pool", "seed: 0"):
        assert words in done.stdout


@pytest.mark.parametrize("name", ["train", "explain", "predict"])
def test_help_waits_for_no_torch(name: str) -> None:
    code = f"""
import runpy, sys
sys.argv = ["{name}", "--help"]
try:
    runpy.run_path({str(ROOT / "scripts" / name)!r} + ".py", run_name="__main__")
except SystemExit as end:
    assert not end.code
assert not {{"torch", "lightning"}} & {{*sys.modules}}
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


# ---------------------------------------------------------------- more of train.py


@pytest.mark.slow
def test_two_processes_train_and_score_like_one(
    script: Script, process: Script, tmp_path: Path
) -> None:
    own = ("model.head=max_pool", *QUICK, "model.dropout=0.0", "model.embedding.noise=0.0")
    own += ("model.encoder.segment=10",)  # of rows of 7 to 29 steps
    # batches of the same size, so that the mean of two means is the mean of all; and so large that
    # one would hold all of the validation part
    auroc = "{_target_: torchmetrics.AUROC, task: multiclass, num_classes: 9}"  # of all rows
    words = (*own, f"model.metrics={{auroc: {auroc}}}", "baseline=false")
    assert train_as_one(script, process, tmp_path, *words, batch_size=54, atol=1e-6) == 4
    one, two = (result_of(tmp_path / name) for name in ("one", "two"))
    for split in ("validation", "test"):
        name = f"{split}/auroc"
        assert two["metrics"][name] == pytest.approx(one["metrics"][name], abs=1e-5)
    assert two["status"] == "completed" and two["device"] == "2 x cpu"
    alone = script("evaluate.py", "run=two", "accelerator=cpu")
    accuracy = two["metrics"]["test/accuracy"]  # each sample counted once, over both processes
    assert f"{100 * accuracy:.2f} %" in alone.stdout


def test_debug_overfit_learns_its_batches_by_heart(script: Script, tmp_path: Path) -> None:
    own = ("debug=overfit", "model.output.label_smoothing=0", "folder=run")
    quick = ("trainer=cpu", "trainer.check_val_every_n_epoch=50", "callbacks.dataflow=null")
    script("train.py", *own, *quick, "baseline=false")
    assert read_metrics(tmp_path / "run" / "metrics.csv")[-1]["train/loss"] < 0.01


# ---------------------------------------------------------------- explain and audit


def test_explain_shows_a_table_and_a_picture_without_training(
    script: Script, tmp_path: Path
) -> None:
    done = script("explain.py", "model.head=bidirectional_concat", "model.encoder.num_layers=2")
    assert "h_n -> bidirectional_concat: LSTM, 2 layers, both directions" in done.stdout
    assert re.search(r"h_n +\(L, D, B, H\) .*head: layer 2, both directions, 100%", done.stdout)
    assert [path.name for path in (tmp_path / "explain").iterdir()] == ["dataflow.svg"]
    assert not (tmp_path / "runs").exists()
    # the picture in README.md is this one; the measured shares may differ in the last digit
    ours, shown = (
        re.sub(r"#\w{6}|\d+ %", "", path.read_text())
        for path in (tmp_path / "explain" / "dataflow.svg", ROOT / "docs" / "dataflow.svg")
    )
    assert ours == shown


def test_audit_exits_with_what_it_found(script: Script, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "models.py").write_text(FILES["models.py"])
    found = script("audit.py", "target=mine/models.py:Model", status=1)
    assert "padding_leak" in found.stdout and found.stderr == ""
    of_one_length = ("target=mine.models:Model", "input.features=3", "padding=none")
    assert "nothing found" in script("audit.py", *of_one_length).stdout
