"""AWD-LSTM's recipe, small: it learns, averages from where the validation stalls, and resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqmodels.callbacks.weight_averages import SWA
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.metrics_file import read_metrics
from seqmodels.runs.training import train
from tests.conftest import Config
from tests.runs.resumed import Stop, weights
from tests.tasks.language_model.test_language_model import model, scored, tokens, window

SMALL = (
    "experiment=awd_lm",
    "data.batch_size=4",
    "data.evaluation_streams=2",
    "data.window=12",
    "model.encoder.hidden_size=24",
    "model.embedding.size=10",
    "model.dropout=0.1",  # so small a model needs little, and a lower rate
    "model.encoder.num_layers=1",
    "model.encoder.dropout=0.0",
    "model.encoder.weight_dropout=0.1",
    "model.optimizer.lr=10.0",
    "callbacks.sample=null",
    "trainer.precision=32-true",
    "trainer.max_epochs=10",
    "baseline=false",
)


@pytest.mark.parametrize(
    ("losses", "stalls"),
    [
        ([9.0, 8.0, 7.0, 7.5, 7.6], False),  # none is above one that is three older
        ([9.0, 8.0, 7.0, 7.5, 7.6, 7.1], True),
        ([9.0, 8.0, 7.0, 7.5, 7.6, 6.9], False),
        ([7.0], False),
    ],
)
def test_a_validation_stalls_above_a_loss_that_is_more_than_patience_older(
    losses: list[float], stalls: bool
) -> None:
    average = SWA(patience=2)
    average.load_state_dict({"latest_update_step": 0, "losses": losses})
    assert average._stalls() is stalls
    never = SWA()
    never.load_state_dict({"latest_update_step": 0, "losses": []})
    never.losses = losses
    assert not never._stalls()


def test_the_training_adds_penalties_of_the_output_that_no_metric_counts() -> None:
    task, batch = model(activation_penalty=2.0, temporal_penalty=3.0), window(tokens())
    output = task.encode(batch).output
    change = output[:, 1:] - output[:, :-1]
    plain = scored(task, batch)
    added = 2 * (output**2).sum() / output.numel() + 3 * (change**2).sum() / change.numel()
    task.train()  # which drops nothing
    torch.testing.assert_close(task.training_step(batch), plain + added)
    torch.testing.assert_close(task.steps["train"][-1].loss, plain)


def test_it_learns_and_averages_from_where_the_validation_stalls_and_resumes_exactly(
    config: Config, tmp_path: Path
) -> None:
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "then", "it", "ran"]
    starts = torch.randint(10, (300,), generator=torch.Generator().manual_seed(0)).tolist()
    lines = [" ".join(words[(start + n) % 10] for n in range(7)) for start in starts]
    text = tmp_path / "text.txt"
    text.write_text("\n".join(lines))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    common = [*SMALL, f"data.train={text}", "callbacks.swa.patience=1"]
    expected = train(config(*common, f"folder={whole}"))
    assert expected["metrics"]["test/perplexity"] < 3
    rows = read_metrics(whole / "metrics.csv")
    losses = [row["validation/loss"] for row in rows if "validation/loss" in row]
    saved = read_checkpoint(whole / "checkpoints" / "last.ckpt")
    stalled = next(n for n in range(2, 10) if losses[n] > min(losses[: n - 1]))
    steps = saved["global_step"]
    assert saved["averaging_state"]["n_averaged"] == steps - steps * (stalled + 1) // 10
    before = steps * stalled // 10 + 3
    stop = f"+callbacks.stop={{_target_:{Stop.__module__}.Stop,step:{before}}}"
    with pytest.raises(RuntimeError, match="the power went out"):
        train(
            config(*common, f"folder={broken}", stop, f"allowed_targets=[{Stop.__module__}.Stop]")
        )
    resumed = train(config(f"resume={broken}"), ())
    assert resumed["metrics"] == expected["metrics"]
    for key, value in weights(whole, "last").items():
        assert torch.equal(value, weights(broken, "last")[key]), key
