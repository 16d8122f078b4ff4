"""A language model by the scripts: trained, scored, sampled, resumed, explained."""

from __future__ import annotations

import lzma
import math
import re
from pathlib import Path

import numpy as np
import pytest

from seqmodels.runs.folder import read_metrics
from tests.conftest import Refused, Script, result_of, run_script
from tests.predictions import mean_loss, rows_of
from tests.runs.resumed import resumes

QUICK = (
    *("data=text_lm", "data.train=train.txt", "data.test=test.txt", "data.batch_size=4"),
    *("data.evaluation_streams=3", "model.encoder.hidden_size=16"),
    *("trainer=cpu", "trainer.precision=32-true"),
)
EPOCHS = ("trainer.max_epochs=2", "trainer.max_time=null")


def write_texts(folder: Path) -> None:
    """Small texts of characters of one byte, with something to learn in them."""
    random = np.random.default_rng(0)
    words = ["the", "cat", "sat,", '"on"', "a", "mat"]
    for name, count in (("train", 200), ("test", 31)):
        lines = [" ".join(random.choice(words, 7)) + "\n" for _ in range(count)]
        # 2 characters more than fill a step of 3 streams
        text = "".join(lines)
        (folder / f"{name}.txt").write_text(text[len(text) % 3 + 1 :])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run of a small language model of characters, and what its training printed."""
    place = tmp_path_factory.mktemp("trained")
    write_texts(place)
    files = (f"data.train={place / 'train.txt'}", f"data.test={place / 'test.txt'}")
    own = ("data.tokenizer=char", "data.window=25", "folder=run")
    words = ("experiment=language_model", *QUICK, *EPOCHS, *files, *own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        done = run_script(place, "train.py", *words)
    return place / "run", done.stdout


def test_a_run_says_what_it_reads_and_how_it_learns(trained: tuple[Path, str]) -> None:
    run, printed = trained
    for split in ("train", "validation", "test"):
        line = rf"^{split} [\d,]+ tokens of [\d,]+ bytes, [\d.]+ % of all, 0\.00 % unknown$"
        assert re.search(line, printed, re.MULTILINE)
    assert re.search(r"output .*\(4, 25, 16\) .*head: every step, 100%", printed)
    result = result_of(run)
    assert (result["task"], result["data"]) == ("LanguageModel", "train.txt")
    assert (result["head"], result["reads"]) == ("tied_softmax", ["output"])
    assert result["tokens_per_second"] > 0
    rows = [row for row in read_metrics(run / "metrics.csv") if "validation/loss" in row]
    assert [row["epoch"] for row in rows] == [0, 1]


def test_text_and_scores_follow_from_the_rows(trained: tuple[Path, str]) -> None:
    run, _ = trained
    rows, result = rows_of(run / "predictions.csv"), result_of(run)
    text, metrics = (run.parent / "test.txt").read_text(), result["metrics"]
    assert "".join(row["target"] for row in rows) == text  # windows of streams, in its order
    counts = [row["tokens"] for row in rows]
    assert [row["row"] for row in rows] == np.cumsum([1, *counts])[:-1].tolist()
    assert sum(counts) == len(text)
    loss = mean_loss(rows, counts)
    assert metrics["test/loss"] == pytest.approx(loss, abs=1e-6)
    assert metrics["test/perplexity"] == pytest.approx(math.exp(loss), rel=1e-6)
    # one character is one byte here
    assert metrics["test/bits_per_byte"] == pytest.approx(loss / math.log(2), rel=1e-5)
    bits = 8 * len(lzma.compress(text.encode(), preset=9)) / len(text)
    assert result["baselines"]["test/bits_per_byte"] == {"lzma": pytest.approx(bits)}


def test_a_finished_run_is_evaluated_and_writes(
    script: Script, refused: Refused, trained: tuple[Path, str], tmp_path: Path
) -> None:
    run, _ = trained
    common, metrics = (f"run={run}", "accelerator=cpu"), result_of(run)["metrics"]

    def shown(*words: str) -> dict[str, float]:
        printed = script("evaluate.py", *common, *words).stdout
        found = re.findall(r" ([\w/]+) +│ +([\d.]+) ", printed)
        return {name: float(value) for name, value in found}

    for split in ("validation", "test"):
        found = shown(f"split={split}")
        assert set(found) == {"loss", "perplexity", "bits_per_byte"}
        for name, value in found.items():
            assert value == pytest.approx(metrics[f"{split}/{name}"], abs=1e-4)
    (tmp_path / "other.txt").write_text("the cat sat, on a mat\n" * 40)
    assert set(shown("file=other.txt")) == {"loss", "perplexity", "bits_per_byte"}

    generate = ("generate.py", *common, "prompt=the cat", "length=30")
    made = script(*generate, "seed=3", "top_p=0.95")
    assert made.stdout.startswith("the cat") and len(made.stdout) == 7 + 30 + 1
    assert made.stderr == ""
    greedy = [script(*generate, "temperature=0", f"seed={seed}").stdout for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    assert "'@', 'é' are not in the vocabulary" in refused("generate.py", *common, "prompt=é@")
    assert "temperature=-1" in refused("generate.py", *common, "temperature=-1")


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one(script: Script, tmp_path: Path) -> None:
    write_texts(tmp_path)  # the signal comes in the middle of the second epoch of 10 steps
    own = ("experiment=word_lm", *QUICK, *EPOCHS, "baseline=false")
    resumes(script, tmp_path, *own, step=14)
