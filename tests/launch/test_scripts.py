"""The scripts from their command lines, called from another folder."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from seqmodels.runs.metrics_file import read_metrics
from tests.conftest import ROOT, Refused, Script, command, result_of
from tests.launch.test_error_lines import MODELS
from tests.pages import read, shell_lines, words_missing
from tests.runs.two_processes import train_as_one

QUICK = ("model.encoder.hidden_size=16", "trainer.max_epochs=2", "trainer=cpu")


def the_only_run(folder: Path) -> Path:
    [run] = (folder / "runs").iterdir()
    return run


def leave_early(run: Path, inputs: list[str], folder: Path) -> str:
    """The first prediction, of a process whose output is then closed, as `head` does."""
    file = folder / "inputs.jsonl"
    file.write_text("".join(f"{line}\n" for line in inputs))
    with (
        file.open() as stdin,
        subprocess.Popen(
            command("predict.py", f"run={run}", "input=-", "accelerator=cpu"),
            cwd=folder,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as predicting,
    ):
        assert predicting.stdout and predicting.stderr
        first = predicting.stdout.readline()
        predicting.stdout.close()
        assert predicting.stderr.read() == ""
        assert predicting.wait() == 1
    return first


def test_train_evaluate_predict(script: Script, tmp_path: Path) -> None:
    done = script("train.py", "model.head=last_hidden", *QUICK)
    run = the_only_run(tmp_path)
    # which tensor is read; the metrics beside the baselines; where everything is
    assert re.search(r"h_n .*\(L, D, B, H\) .*\(1, 1, 16, 16\) .*head: layer 1, 100%", done.stdout)
    assert not re.search(r"(output|c_n) .*head", done.stdout)
    accuracy = result_of(run)["metrics"]["test/accuracy"]
    assert "accuracy" in done.stdout and f"{100 * accuracy:.2f} %" in done.stdout
    assert "majority class" in done.stdout and "logistic regression" in done.stdout
    assert f"run folder: {run.relative_to(tmp_path)}\n" in done.stdout
    for shown in shell_lines(read(ROOT / "README.md")):  # what README shows, but for numbers
        if shown.line.endswith("train.py model.head=last_hidden"):
            assert words_missing(shown.output, done.stdout) == set()
    assert "train 216, validation 54, test 370" in (run / "train.log").read_text()

    again = script("evaluate.py", f"run={run}", "accelerator=cpu")
    assert f"{100 * accuracy:.2f} %" in again.stdout

    series = "\n".join(json.dumps([[0.1 * step] * 12] * 9) for step in range(5))
    predicted = script("predict.py", f"run={run}", "input=-", "accelerator=cpu", stdin=series)
    lines = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert len(lines) == 5 and all(line["label"] in line["probabilities"] for line in lines)
    assert predicted.stderr == ""
    first = leave_early(run, 5000 * series.splitlines(), tmp_path)
    assert json.loads(first)["probabilities"] == pytest.approx(lines[0]["probabilities"])

    labelled = tmp_path / "labelled.jsonl"
    labelled.write_text("\n".join(json.dumps({"series": [[0.1] * 12], "label": n}) for n in (1, 2)))
    on_file = script("evaluate.py", f"run={run}", f"file={labelled}", "accelerator=cpu")
    assert re.search(r"metric .* file .*\n.*\n. accuracy ", on_file.stdout), on_file.stderr


def test_a_folder_of_your_choice_has_the_log_too(
    script: Script, refused: Refused, tmp_path: Path
) -> None:
    script("train.py", "folder=chosen/run", *QUICK)
    assert "train 216" in (tmp_path / "chosen" / "run" / "train.log").read_text()
    assert not (tmp_path / "runs").exists()  # Hydra's own folder

    (tmp_path / "mine").mkdir()
    refused("train.py", "folder=mine", *QUICK, "data.batch_size=0")
    assert [*(tmp_path / "mine").iterdir()] == [] and not (tmp_path / "runs").exists()


OVERFIT = ("debug=overfit", "model.output.label_smoothing=0")
PLAIN = ("audit", "compare", "evaluate", "export", "generate", "predict")


def imported_by_help(name: str) -> set[str]:
    """The modules that a script has imported when it has printed its help."""
    code = f"""
import runpy, sys
sys.argv = ["{name}", "--help"]
try:
    runpy.run_path({str(ROOT / "scripts" / name)!r}, run_name="__main__")
except SystemExit as end:
    assert not end.code
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


def test_help_shows_the_program_without_importing_torch(script: Script) -> None:
    done = script("train.py", "--help")
    for words in ("which tensor feeds its head", "japanese_vowels", "head: last_hidden", "seed: 0"):
        assert words in done.stdout
    for name in ("train.py", "explain.py"):
        assert "torch" not in imported_by_help(name)


@pytest.mark.parametrize("name", PLAIN)
def test_help_is_one_screen_that_names_each_key(script: Script, name: str) -> None:
    command = importlib.import_module(f"seqmodels.launch.commands.{name}")
    for option in ("--help", "-h"):
        done = script(f"{name}.py", "unread=1", option)
        assert done.stderr == ""
        first, _, example, *_ = lines = done.stdout.splitlines()
        assert re.fullmatch(r"[A-Z].*[.?]", first) and f"python scripts/{name}.py " in example
        assert len(lines) <= 50
        for key in inspect.signature(command.main).parameters.keys() - {"places"}:
            assert re.search(rf"^    {key}[.:]", done.stdout, re.MULTILINE), key
    assert not {"torch", "lightning", "hydra"} & imported_by_help(f"{name}.py")


@pytest.mark.parametrize("name", ["train", "explain", *PLAIN])
def test_importing_a_script_does_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["prompt=[a", "--wrong"]
    monkeypatch.setattr(sys, "argv", arguments)
    before = dict(os.environ), list(warnings.filters)
    runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="imported")
    assert arguments == ["prompt=[a", "--wrong"]
    assert before == (dict(os.environ), list(warnings.filters))


@pytest.mark.parametrize("words", [("train.py", "model.head=last_hiden"), ("evaluate.py", "rn=x")])
def test_an_error_shows_its_traceback_on_request(
    script: Script, refused: Refused, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    done = script(*words, status=1)
    assert "Traceback" in done.stderr and "UserError" in done.stderr
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    assert "Traceback" not in refused(*words)
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_the_other_processes_of_a_training_show_errors_as_it_does(
    refused: Refused, tmp_path: Path
) -> None:
    asks = 'import os\nraise ValueError(os.environ.get("HYDRA_FULL_ERROR"))\n'
    (tmp_path / "asks.py").write_text(asks)  # what a process that it starts would inherit
    assert refused("train.py", "imports=[asks]") == "error: imports=asks: ValueError: None"


def test_runs_started_together_have_folders_of_their_own() -> None:
    from omegaconf import OmegaConf

    folders = {OmegaConf.create({"a": "${unique:}"}).a for _ in range(1000)}
    assert len(folders) == 1000


@pytest.mark.slow
def test_a_text_file_trains_from_the_command_line_as_it_is(script: Script, tmp_path: Path) -> None:
    rows = [f'{("ham", "spam")[n % 2]}\tso "{("hi", "win")[n % 2]} {n % 5}' for n in range(80)]
    (tmp_path / "sms.tsv").write_text("\n".join(rows) + "\n")
    done = script(
        "train.py",
        "data=text",
        "data.train=sms.tsv",
        "data.columns=[label,text]",
        "model.head=attention_pool",
        *QUICK,
    )
    assert "logistic regression on tf-idf" in done.stdout
    (tmp_path / "new.txt").write_text("you win\nhi there\n")
    predicted = script("predict.py", f"run={the_only_run(tmp_path)}", "input=new.txt")
    assert len(predicted.stdout.splitlines()) == 2, predicted.stderr


@pytest.mark.slow
def test_two_processes_train_and_score_like_one(
    script: Script, process: Script, tmp_path: Path
) -> None:
    own = ("model.head=max_pool", *QUICK, "model.dropout=0.0", "model.embedding.noise=0.0")
    # batches of the same size, so that the mean of two means is the mean of all; and so large that
    # one would hold all of the validation part
    classes = "task: multiclass, num_classes: 9"
    more = (  # one collects all rows, of which the processes have 208 and 162; one counts in bins
        f"model.metrics={{auroc: {{_target_: torchmetrics.AUROC, {classes}}}, binned: "
        f"{{_target_: torchmetrics.AveragePrecision, {classes}, thresholds: 50}}}}",
        "callbacks.checkpoint.monitor=validation/auroc",
    )
    words = (*own, *more, "baseline=false")
    assert train_as_one(script, process, tmp_path, *words, batch_size=54, atol=1e-6) == 4

    def measured(run: str, name: str) -> list[float]:
        rows = read_metrics(tmp_path / run / "metrics.csv")
        found = [row[key] for row in rows if (key := f"validation/{name}") in row]
        return [*found, result_of(tmp_path / run)["metrics"][f"test/{name}"]]

    for name in ("auroc", "binned"):
        assert measured("two", name) == pytest.approx(measured("one", name), abs=1e-5)
        assert len(measured("two", name)) == 3
    result = result_of(tmp_path / "two")
    assert result["status"] == "completed" and result["device"] == "2 x cpu"
    alone = script("evaluate.py", "run=two", "accelerator=cpu")
    for name in ("accuracy", "macro_f1"):  # each sample counted once, over both processes
        assert f"{100 * result['metrics'][f'test/{name}']:.2f} %" in alone.stdout


def test_debug_overfit_learns_its_batches_by_heart(script: Script, tmp_path: Path) -> None:
    script("train.py", *OVERFIT, "trainer=cpu", "baseline=false")
    last = read_metrics(the_only_run(tmp_path) / "metrics.csv")[-1]
    assert last["train/loss"] < 0.01


def test_explain_shows_a_table_and_a_picture_without_training(
    script: Script, tmp_path: Path
) -> None:
    done = script("explain.py", "model.head=bidirectional_concat", "model.encoder.num_layers=2")
    assert "h_n -> bidirectional_concat: LSTM, 2 layers, both directions" in done.stdout
    assert re.search(r"h_n +\(L, D, B, H\) .*head: layer 2, both directions, 100%", done.stdout)
    assert re.search(
        r"layer 2 →   \[LSTM\]→\[LSTM\]→\[LSTM\]→ \d\d % ─······→ h_n  \[c_n\]", done.stdout
    )
    assert [path.name for path in (tmp_path / "explain").iterdir()] == ["dataflow.svg"]
    assert not (tmp_path / "runs").exists()
    # the picture in README.md is this one; the measured shares may differ in the last digit
    ours, shown = (
        re.sub(r"#\w{6}|\d+ %", "", path.read_text())
        for path in (tmp_path / "explain" / "dataflow.svg", ROOT / "docs" / "dataflow.svg")
    )
    assert ours == shown


def test_explain_computes_with_one_thread(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(
        "seqmodels.dataflow.explain.to_text",
        lambda *_: str(threads.append(torch.get_num_threads())),
    )
    torch.set_num_threads(2)
    try:
        script("explain.py")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert threads == [1]


def test_audit_exits_with_what_it_found(script: Script, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "models.py").write_text(MODELS)
    found = script("audit.py", "target=mine/models.py:build_model", status=1)
    assert found.stderr == ""
    assert "padding_leak" in found.stdout and "gather" in found.stdout
    for target in ("Right", "model"):
        clean = script("audit.py", f"target=mine.models:{target}", "input.features=12")
        assert "nothing found" in clean.stdout


MASKED = """
from torch import nn

class MaskedById(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.classify = nn.Embedding(30, 8), nn.Linear(8, 3)

    def forward(self, inputs, lengths):
        mask = (inputs != 0).unsqueeze(-1)
        return self.classify((self.embedding(inputs) * mask).sum(1) / mask.sum(1).clamp(min=1))
"""


def test_the_audit_is_told_what_padding_holds(script: Script, tmp_path: Path) -> None:
    (tmp_path / "masked_by_id.py").write_text(MASKED)
    audit = ("audit.py", "target=masked_by_id:MaskedById", "input.vocabulary=30")
    found = script(*audit, status=1)
    assert "padding_leak" in found.stdout and "padding=<value>" in found.stdout
    for padding in ("0", "none"):
        assert "nothing found" in script(*audit, f"padding={padding}").stdout
