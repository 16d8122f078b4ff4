"""Every step of `output` into a softmax, and the state from window to window."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.nn.embedding import LockedDropout
from seqmodels.nn.state import State
from seqmodels.runs import load_run, train
from seqmodels.runs.metrics_file import read_metrics
from seqmodels.runs.trainer import quieten_lightning
from seqmodels.tasks.language_model import LanguageModel, StreamDataModule
from seqmodels.tasks.language_model.corpus import TokenFile
from tests.conftest import Config
from tests.engine.test_contract import DATA, Tagging
from tests.runs.resumed import Stop, weights
from tests.shipped import LANGUAGE_HEADS

B, T, V, H, E = 3, 11, 23, 16, 5
every_head = pytest.mark.parametrize("head", LANGUAGE_HEADS)
SGD = {"_target_": "torch.optim.SGD", "lr": 1.0}


def model(head: str = "softmax", **options: Any) -> LanguageModel:
    torch.manual_seed(0)
    encoder = {"hidden_size": H, "num_layers": 2, **options.pop("encoder", {})}
    data = {"inputs": "tokens", "num_inputs": V}
    arguments = {"optimizer": SGD, "embedding": {"size": E}, **options}
    return LanguageModel(data=data, encoder=encoder, head=head, **arguments).eval()


def scored(task: LanguageModel, batch: SequenceBatch, split: str = "test") -> Tensor:
    """The loss of a batch as an epoch of that split counts it."""
    return task._step(batch, split).loss


def quiet_trainer(**options: Any) -> pl.Trainer:
    quieten_lightning()
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def tokens(batch: int = B, time: int = T, seed: int = 1) -> Tensor:
    return torch.randint(2, V, (batch, time + 1), generator=torch.Generator().manual_seed(seed))


def window(ids: Tensor, start: int = 0, stop: int = T) -> SequenceBatch:
    """Steps `start..stop`: the input is a token, the target the next."""
    return SequenceBatch(
        ids[:, start:stop].contiguous(),
        torch.full((len(ids),), stop - start),
        ids[:, start + 1 : stop + 1].contiguous(),
        continues=start > 0,
    )


# ---------------------------------------------------------------- which tensor feeds what


@every_head
def test_every_step_of_output_gives_the_next_token(head: str) -> None:
    task, ids = model(head), tokens()
    logits = task(window(ids))
    assert logits.shape == (B, T, V)
    # by hand: PyTorch's own LSTM and the formula, step by step
    output, _ = task.encoder.rnn(task.embedding(ids[:, :-1]))
    project = task.head.output.project
    nats = torch.zeros(())
    for row in range(B):
        for step in range(T):
            h, target = output[row, step], ids[row, step + 1]
            h = task.head.output.resize(h) if head == "tied_softmax" else h
            log_p = torch.log_softmax(project.weight @ h + project.bias, dim=0)
            torch.testing.assert_close(logits[row, step].log_softmax(0), log_p)
            nats -= log_p[target] / (B * T)
    with torch.enable_grad():
        loss = task.head.loss(task.encode(window(ids)), window(ids).targets)
    torch.testing.assert_close(loss, nats, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        loss = scored(task, window(ids))
    torch.testing.assert_close(loss, nats.detach(), rtol=1e-5, atol=1e-6)


@every_head
def test_the_future_changes_nothing(head: str) -> None:
    task, ids = model(head), tokens()
    other = ids.clone()
    other[:, 6:] = tokens(seed=9)[:, 6:]
    assert torch.equal(task(window(ids))[:, :6], task(window(other))[:, :6])
    assert not torch.equal(task(window(ids))[:, 6:], task(window(other))[:, 6:])


def test_tied_softmax_shares_the_embedding() -> None:
    task = model("tied_softmax")
    assert task.head.output.project.weight is task.embedding.weight
    assert task.head.output.resize.weight.shape == (E, H)
    same_width = model("tied_softmax", embedding=None)
    assert isinstance(same_width.head.output.resize, nn.Identity)
    assert sum(p.numel() for p in same_width.head.parameters()) == V * H + V


@every_head
def test_targets_at_padding_are_left_out(head: str) -> None:
    task, ids = model(head), tokens()
    full = window(ids)
    assert full.targets is not None
    targets = full.targets.clone()
    targets[1, 4:] = -100
    ragged = SequenceBatch(full.inputs, torch.tensor([T, 4, T]), targets)
    nats = 0.0
    for row, length in enumerate((T, 4, T)):
        alone = window(ids[row : row + 1], 0, length)
        nats += length * float(task.head.loss(task.encode(alone), alone.targets).detach())
    loss = task.head.loss(task.encode(ragged), targets)
    assert float(loss.detach()) == pytest.approx(nats / (2 * T + 4), abs=1e-5)


# ---------------------------------------------------------------- dropout


def test_dropout_acts_in_all_three_places() -> None:
    options = {
        "dropout": 0.3,
        "embedding": {"size": E, "dropout": 0.2},
        "encoder": {"dropout": 0.4},
    }
    task = model(**options)
    assert (task.embedding.dropout.p, task.encoder.rnn.dropout, task.head.dropout.p) == (
        0.2,
        0.4,
        0.3,
    )
    assert not isinstance(task.head.dropout, LockedDropout)
    locked = model(**options, locked_dropout=True)
    assert isinstance(locked.head.dropout, LockedDropout)
    assert isinstance(locked.embedding.dropout, LockedDropout)
    assert locked.encoder.locked_dropout
    assert model(dropout=0.3).embedding.dropout.p == 0.3


@pytest.mark.parametrize("head", ["softmax", "tied_softmax"])
def test_label_smoothing_acts_in_training_only(head: str) -> None:
    task, batch = model(head, output={"label_smoothing": 0.2}), window(tokens())
    logits = task(batch).flatten(0, 1)
    for split, smoothing in (("train", 0.2), ("validation", 0.0)):
        task.train(split == "train")
        expected = F.cross_entropy(logits, batch.targets.flatten(), label_smoothing=smoothing)
        torch.testing.assert_close(scored(task, batch, split), expected.detach())


# ---------------------------------------------------------------- the carried state


def in_windows(task: LanguageModel, ids: Tensor, size: int) -> list[Tensor]:
    return [scored(task, window(ids, start, min(start + size, T))) for start in range(0, T, size)]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("size", [1, 4])
def test_windows_with_the_state_carried_equal_a_full_pass(cell: str, size: int) -> None:
    task, ids = model(encoder={"cell": cell}), tokens()
    full = scored(task, window(ids))
    sizes = [min(size, T - start) for start in range(0, T, size)]
    windowed = sum(n * loss for n, loss in zip(sizes, in_windows(task, ids, size))) / T
    torch.testing.assert_close(windowed, full, rtol=1e-5, atol=1e-6)


def test_a_state_that_is_reset_changes_the_result() -> None:
    task, ids = model(), tokens()
    carried = in_windows(task, ids, 4)
    afresh = []
    for start in (0, 4, 8):
        piece = window(ids, start, min(start + 4, T))
        alone = SequenceBatch(piece.inputs, piece.lengths, piece.targets)
        afresh.append(scored(task, alone))
    assert torch.equal(carried[0], afresh[0])
    assert not torch.isclose(carried[1], afresh[1], atol=1e-5)


def test_no_gradient_flows_into_the_window_before() -> None:
    task, ids = model().train(), tokens()
    task.training_step(window(ids, 0, 4))
    assert all(not part.requires_grad for part in task.carried["train"])
    task.training_step(window(ids, 4, 8)).backward()
    seen = task.embedding.weight.grad.abs().sum(1) > 0
    assert set(seen.nonzero().flatten().tolist()) == set(ids[:, 4:8].flatten().tolist())


def test_each_stage_carries_a_state_of_its_own() -> None:
    task, ids = model(), tokens()
    for stage, other in (("train", ids), ("validation", tokens(seed=2))):
        scored(task, window(other, 0, 4), stage)
    continued = scored(task, window(ids, 4, 8), "train")
    alone = in_windows(model(), ids, 4)[1]
    torch.testing.assert_close(continued, alone)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_for_a_fused_optimizer_in_any_precision(precision: str) -> None:
    task = model(optimizer={**SGD, "fused": True}).train()
    before = {name: p.detach().clone() for name, p in task.named_parameters()}
    trainer = quiet_trainer(max_steps=1, precision=precision, gradient_clip_val=1e-3)
    loader = torch.utils.data.DataLoader([window(tokens())], collate_fn=lambda b: b[0])
    trainer.fit(task, loader, loader)
    change = [(p - before[name]).norm() for name, p in task.named_parameters()]
    assert float(torch.stack(change).norm().detach()) == pytest.approx(1e-3, rel=0.01)


# ---------------------------------------------------------------- whole runs


@pytest.fixture
def text(tmp_path: Path) -> str:
    """A small text with something to learn in it."""
    random = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "then", "it", "ran"]
    lines = [" ".join(random.choice(words, 7)) + ".\n" for _ in range(200)]
    path = tmp_path / "text.txt"
    path.write_text("".join(lines))
    return str(path)


QUICK = (
    "experiment=language_model",
    "data=text_lm",
    "data.tokenizer=char",
    "data.batch_size=4",
    "data.window=25",
    "data.evaluation_streams=2",
    "model.encoder.hidden_size=16",
    "callbacks.sample.length=20",
    "trainer.precision=32-true",
    "trainer.max_epochs=2",
)


@pytest.mark.pictures
def test_a_run_leaves_everything_in_its_folder(
    config: Config, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "seqmodels.tasks.language_model.sample")
    settings = config(*QUICK, f"data.train={text}")
    result = train(settings)
    folder = Path(settings.folder)
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == {
        "config.yaml",
        "overrides.yaml",
        "environment.json",
        "metrics.csv",
        "predictions.csv",
        "dataflow.svg",
        "result.json",
        "train.log",
        "lock",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "figures/learning_curves.png",
    }
    for picture in folder.glob("figures/*.png"):
        assert picture.stat().st_size > 10_000
    assert (result["task"], result["data"]) == ("LanguageModel", "text.txt")
    assert (result["head"], result["reads"]) == ("tied_softmax", ["output"])
    assert result["tokens_per_second"] > 0
    names = ("loss", "perplexity", "bits_per_byte")
    assert set(result["metrics"]) == {f"{s}/{n}" for s in ("validation", "test") for n in names}
    loss = result["metrics"]["test/loss"]
    assert result["metrics"]["test/perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    # one character is one byte here
    assert result["metrics"]["test/bits_per_byte"] == pytest.approx(loss / math.log(2), rel=1e-5)
    for split in ("validation", "test"):
        found = result["baselines"][f"{split}/bits_per_byte"]
        assert set(found) == {"lzma"}
    rows = read_metrics(folder / "metrics.csv")
    rows = [row for row in rows if "validation/loss" in row]
    assert [row["epoch"] for row in rows] == [0, 1]
    log = (folder / "train.log").read_text()
    samples = [line.partition(":\n") for line in caplog.messages if line.startswith("after")]
    assert [when for when, _, _ in samples] == ["after epoch 0", "after epoch 1"]
    assert all(len(text) == 20 and text.replace("\n", "\n    ") in log for _, _, text in samples)


def test_a_run_that_ends_within_an_epoch_is_validated_and_saved(config: Config, text: str) -> None:
    settings = config(*QUICK, f"data.train={text}", "trainer.max_steps=7", "baseline=false")
    result = train(settings)
    [row] = read_metrics(Path(settings.folder) / "metrics.csv")
    assert row["validation/loss"] == pytest.approx(result["metrics"]["validation/loss"])


def test_a_sample_changes_nothing_in_the_training(config: Config, text: str) -> None:
    options = (*QUICK, f"data.train={text}", "model.dropout=0.2")
    runs = [
        train(config(*options, *more, f"folder={Path(text).parent / str(number)}"))["metrics"]
        for number, more in enumerate(((), ("callbacks.sample=null",)))
    ]
    assert runs[0] == runs[1]


def test_a_finished_run_evaluates_to_the_same_numbers(config: Config, text: str) -> None:
    settings = config(*QUICK, f"data.train={text}")
    result = train(settings)
    run = load_run(settings.folder)
    expected = {k: v for k, v in result["metrics"].items() if k.startswith("test")}
    assert run.evaluate(accelerator="cpu") == pytest.approx(expected, rel=1e-6)
    other = Path(text).with_name("other.txt")
    other.write_text("the cat sat on a mat.\n" * 40)
    metrics = run.evaluate(file=str(other), accelerator="cpu")
    assert set(metrics) == {"file/loss", "file/perplexity", "file/bits_per_byte"}
    [label] = [
        pytest.raises(
            UserError,
            match="a language model has no labels to predict; use python ",
        )
    ]
    with label:
        next(run.predict(["x"]))
    assert isinstance(
        LanguageModel.load_from_checkpoint(Path(settings.folder) / "checkpoints" / "best.ckpt"),
        LanguageModel,
    )


@pytest.mark.parametrize("where", ["between epochs", "in the middle of an epoch"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    config: Config, tmp_path: Path, text: str, where: str
) -> None:
    step = {"between epochs": 72, "in the middle of an epoch": 87}[where]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    common = [*QUICK, f"data.train={text}", "trainer.max_epochs=3", "baseline=false"]
    common += ["model.dropout=0.2", "callbacks.sample=null"]
    if where == "in the middle of an epoch":
        common += ["callbacks.last.minutes=0.0"]
    expected = train(config(*common, f"folder={whole}"))
    stop = f"+callbacks.stop={{_target_:{Stop.__module__}.Stop,step:{step}}}"
    allow = f"allowed_targets=[{Stop.__module__}.Stop]"
    with pytest.raises(RuntimeError, match="the power went out"):
        train(config(*common, f"folder={broken}", stop, allow))
    saved = torch.load(broken / "checkpoints" / "last.ckpt", weights_only=True)
    [process] = saved["resume"]
    assert len(process["carried"]) == 2  # (h, c)
    lost = shutil.copytree(broken, tmp_path / "lost")
    resumed = train(config(f"resume={broken}"), ())
    assert resumed["metrics"] == expected["metrics"]
    for name in ("last", "best"):
        for key, value in weights(whole, name).items():
            assert torch.equal(value, weights(broken, name)[key]), (name, key)
    if where == "in the middle of an epoch":  # without the carried state it would be another run
        process["carried"] = [torch.zeros_like(part) for part in process["carried"]]
        torch.save(saved, lost / "checkpoints" / "last.ckpt")
        other = train(config(f"resume={lost}"), ())
        assert other["metrics"] != expected["metrics"]


def test_another_batch_size_cannot_go_on_with_the_carried_state(
    config: Config, tmp_path: Path, text: str
) -> None:
    common = [*QUICK, f"data.train={text}", "model.scheduler=null", "baseline=false"]
    common += ["callbacks.last.minutes=0.0"]
    stop = f"+callbacks.stop={{_target_:{Stop.__module__}.Stop,step:50}}"
    with pytest.raises(RuntimeError, match="the power went out"):  # in the middle of an epoch
        train(config(*common, stop, f"allowed_targets=[{Stop.__module__}.Stop]"))
    saved = OmegaConf.load(tmp_path / "run" / "config.yaml")
    saved.data.batch_size = 5  # by hand: no word changes it
    OmegaConf.save(saved, tmp_path / "run" / "config.yaml")
    with pytest.raises(UserError, match="carries the state of 4 streams .* has 5"):
        train(config(f"resume={tmp_path / 'run'}"), ["trainer.max_epochs=4"])


class Chain(StreamDataModule):
    """A Markov chain over 12 tokens, each followed by one of three with known probabilities."""

    STATES, SHARES = 12, (0.7, 0.2, 0.1)

    def setup(self, stage: str | None = None) -> None:
        random = np.random.default_rng(0)
        following = np.array([random.permutation(self.STATES)[:3] for _ in range(self.STATES)])
        for split, size in (("train", 400_000), ("validation", 50_000), ("test", 50_000)):
            drawn = random.choice(3, size, p=self.SHARES)
            ids, state = np.zeros(size + 1, np.uint8), 0
            for step in range(size):
                state = following[state, drawn[step]]
                ids[step + 1] = state + 2
            self.tokens[split] = TokenFile(ids, num_bytes=size, unknown=0)

    @property
    def spec(self) -> dict[str, Any]:
        return {"inputs": "tokens", "num_inputs": self.STATES + 2}


@pytest.mark.slow
def test_perplexity_of_a_known_source_comes_within_one_per_cent_of_its_entropy() -> None:
    data = Chain(batch_size=64, window=32)
    data.setup()
    pl.seed_everything(0, verbose=False)
    task = LanguageModel(
        data.spec,
        {"hidden_size": 32},
        optimizer={"_target_": "torch.optim.AdamW", "lr": 0.01},
        scheduler={"_target_": "seqmodels.engine.optimization.OneCycle"},
    )
    trainer = quiet_trainer(max_epochs=3)
    trainer.fit(task, datamodule=data)
    [metrics] = trainer.test(task, datamodule=data, verbose=False)
    entropy = -sum(p * math.log(p) for p in Chain.SHARES)
    assert metrics["test/perplexity"] == pytest.approx(math.exp(entropy), rel=0.01)


# ---------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model.encoder.bidirectional=true"],
            "must read in one direction, because a backward direction has already seen it: set",
        ),
        (
            ["model.head=last_hidden"],
            "model.head=last_hidden reads one vector for each sequence, and this model needs one "
            "for each step: choose one of every_step, softmax, tied_softmax",
        ),
        (["callbacks.sample.temperature=-1.0"], "sample.temperature=-1.0: input should"),
    ],
)
def test_mistakes_are_named_and_leave_no_folder(
    config: Config, text: str, overrides: list[str], message: str
) -> None:
    settings = config(*QUICK, f"data.train={text}", *overrides)
    with pytest.raises(UserError, match=message):
        train(settings)
    assert not Path(settings.folder).exists()


def test_a_run_prints_the_size_and_the_unknown_share_of_each_split(
    config: Config, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train(config(*QUICK, f"data.train={text}", "trainer.max_steps=1", "baseline=false"))
    shown = capsys.readouterr().out.splitlines()[:3]
    for split, line in zip(("train", "validation", "test"), shown, strict=True):
        assert re.fullmatch(rf"{split} [\d,]+ tokens of [\d,]+ bytes, 0\.00 % unknown", line)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model=language_model"],
            "JapaneseVowels has a class for each sequence, and LanguageModel learns the next "
            "token for each step: choose data and model that fit, such as model=language_model "
            "data=text_lm",
        ),
        (
            ["data=text_lm", "data.train=x"],
            "x has the next token for each step, and SequenceClassifier learns a class for "
            "each sequence: choose data and model that fit, such as model=classifier data=text",
        ),
    ],
)
def test_data_of_the_other_task_are_refused(
    config: Config, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(config(*overrides))


def test_a_prompt_that_is_not_in_the_vocabulary_is_found_before_training(
    config: Config, text: str
) -> None:
    with pytest.raises(UserError, match="prompt: 'ß', 'ü' are not in the vocabulary; remove"):
        train(config(*QUICK, f"data.train={text}", "callbacks.sample.prompt='süß'"))


def test_state_is_a_tensor_for_gru_and_a_pair_for_lstm() -> None:
    def carried(cell: str) -> State:
        task = model(encoder={"cell": cell})
        task.training_step(window(tokens()))
        return task.carried["train"]

    assert carried("gru").shape == (2, B, H)
    h, c = carried("lstm")
    assert h.shape == c.shape == (2, B, H)


def test_a_language_model_takes_no_vectors() -> None:
    without = pl.LightningDataModule()
    task = LanguageModel({"num_inputs": 7}, {"hidden_size": 4}, embedding={"freeze": True})
    with pytest.raises(UserError, match="model.embedding.freeze needs pre-trained vectors"):
        task.initialize(without)


@every_head
def test_two_directions_are_refused_for_every_head(head: str) -> None:
    with pytest.raises(UserError, match=r"must read in one direction, because .*: set model\.enc"):
        model(head, encoder={"bidirectional": True})


def test_a_head_with_a_vocabulary_is_of_no_other_task() -> None:
    with pytest.raises(UserError, match="tied_softmax does not fit"):
        Tagging(DATA, {"hidden_size": H}, "tied_softmax")
