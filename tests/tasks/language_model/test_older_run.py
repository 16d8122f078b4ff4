"""A run made by version 0.1 generates; a run of before keeps its splits."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seqmodels.instantiate import allowed_class
from seqmodels.runs import load_run, train
from seqmodels.runs.checkpoint import CheckpointFiles, read_checkpoint
from tests.conftest import Config


def test_it_generates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.txt").write_text("def f(x):\n    return x\n")  # where the run looks for it
    run = load_run(Path(__file__).parent / "older_run")
    assert len("".join(run.generate("def ", 12))) == 12


def test_a_callback_that_has_moved_is_found_by_the_name_it_had() -> None:
    name = "seqmodels.callbacks.sample.SampleText"
    assert allowed_class({"_target_": name}).__name__ == "SampleText"


def test_a_language_model_keeps_the_splits_of_before(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = tmp_path / "book.md"
    text.write_text("all happy families are alike, and each unhappy one is not.\n" * 5000)
    folder = tmp_path / "run"
    quick = ("data.batch_size=4", "data.window=16", "data.evaluation_streams=2")
    first = train(
        config(
            *("model=language_model", "data=text_lm", f"data.train={text}", *quick),
            *("data.validation_stretches=1", "baseline=false", "callbacks.sample=null"),
            *("trainer.max_steps=4", "trainer.max_epochs=-1", "model.scheduler=null"),
        )
    )
    # as a run of before is: one stretch, a column of hub data sets only, and no word about either
    settings = OmegaConf.load(folder / "config.yaml")
    settings.data.text_column = "text"
    for key in ("validation_stretches", "columns", "quoting"):
        del settings.data[key]
    OmegaConf.save(settings, folder / "config.yaml")
    for path in (folder / "checkpoints").glob("*.ckpt"):
        saved = read_checkpoint(path)
        for key in ("validation_stretches", "text_column", "tokenizer_options"):
            del saved["hyper_parameters"]["data"][key]
        CheckpointFiles().save_checkpoint(saved, path)

    run = load_run(folder)
    metrics = run.evaluate("validation", accelerator="cpu")
    assert metrics["validation/loss"] == pytest.approx(first["metrics"]["validation/loss"])
    assert run.data.fingerprint == first["fingerprint"]
    for steps in (6, 8):  # the second time from a checkpoint of today
        resumed = train(config(f"resume={folder}"), [f"trainer.max_steps={steps}"])
        assert resumed["fingerprint"] == first["fingerprint"]
    assert "fingerprint differs" not in caplog.text
