"""Every step of `output` into a softmax, the state from window to window, and whole runs by the
scripts: trained, scored, sampled, resumed, explained."""

from __future__ import annotations

import lzma
import math
import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.nn.embedding import LockedDropout
from seqmodels.runs.folder import read_metrics
from seqmodels.runs.trainer import quieten_lightning
from seqmodels.tasks.language_model import LanguageModel, StreamDataModule
from seqmodels.tasks.language_model.corpus import TokenFile
from tests.conftest import Refused, Script, result_of, run_script
from tests.predictions import mean_loss, rows_of
from tests.runs.resumed import resumes
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
    return task._step(batch, split).score.loss


def quiet_trainer(**options: Any) -> pl.Trainer:
    quieten_lightning()
    without = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return pl.Trainer(accelerator="cpu", **dict.fromkeys(without, False), **options)


def tokens(batch: int = B, time: int = T, seed: int = 1) -> Tensor:
    return torch.randint(2, V, (batch, time + 1), generator=torch.Generator().manual_seed(seed))


def window(ids: Tensor, start: int = 0, stop: int = T, continues: bool = False) -> SequenceBatch:
    """Steps `start..stop`: the input is a token, the target the next."""
    inputs, targets = (ids[:, start + n : stop + n].contiguous() for n in (0, 1))
    return SequenceBatch(inputs, torch.full((len(ids),), stop - start), targets, continues)


# ---------------------------------------------------------------- which tensor feeds what


@every_head
def test_every_step_of_output_gives_the_next_token(head: str) -> None:
    task, full, lengths = model(head), window(tokens()), (T, 4, T)
    targets = full.targets.clone()
    targets[1, 4:] = -100
    batch = SequenceBatch(full.inputs, torch.tensor(lengths), targets)
    logits, project = task(batch), task.network.head.output.project
    assert logits.shape == (B, T, V)
    nats = []
    for row, length in enumerate(lengths):
        # by hand: PyTorch's own LSTM of a row alone, and the formula, step by step
        output, _ = task.network.encoder.rnn(
            task.network.embedding(full.inputs[row : row + 1, :length])
        )
        for step, h in enumerate(output[0]):
            h = task.network.head.output.resize(h) if head == "tied_softmax" else h
            log_p = torch.log_softmax(project.weight @ h + project.bias, dim=0)
            torch.testing.assert_close(logits[row, step].log_softmax(0), log_p)
            nats.append(-log_p[targets[row, step]])
    for enabled in (True, False):  # it is computed in other ways with a gradient than without
        with torch.set_grad_enabled(enabled):
            step = task._step(batch, "test")
        torch.testing.assert_close(step.score.loss, torch.stack(nats).mean(), rtol=1e-5, atol=1e-6)
        assert step.score.weight == len(nats)


def test_tied_softmax_shares_the_embedding() -> None:
    task = model("tied_softmax")
    assert task.network.head.output.project.weight is task.network.embedding.weight
    assert task.network.head.output.resize.weight.shape == (E, H)
    same_width = model("tied_softmax", embedding=None)
    assert isinstance(same_width.network.head.output.resize, nn.Identity)
    assert sum(p.numel() for p in same_width.network.head.parameters()) == V * H + V


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize(
    "options",
    [{"dropout": 0.5}, {"embedding": {"size": E, "dropout": 0.5}}, {"encoder": {"dropout": 0.5}}],
    ids=str,
)
def test_dropout_acts_in_each_place_and_in_training_only(options: dict, locked: bool) -> None:
    task, plain, batch = model(**options, locked_dropout=locked), model(), window(tokens())
    with torch.no_grad():
        for parameter in (*task.parameters(), *plain.parameters()):
            parameter *= 3  # far from uniform
        torch.testing.assert_close(scored(task, batch), scored(plain, batch))
        assert abs(float(scored(task.train(), batch) - scored(plain, batch))) > 1e-3
    # where the embedding is given none, it has that of the model
    assert task.network.embedding.dropout.p == (0.0 if "encoder" in options else 0.5)
    kinds = {type(task.network.embedding.dropout), type(task.network.head.dropout)}
    assert kinds == {LockedDropout if locked else nn.Dropout}
    assert task.network.encoder.locked_dropout == locked


# ---------------------------------------------------------------- the carried state


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("size", [1, 4])
def test_windows_with_the_state_carried_equal_a_full_pass(cell: str, size: int) -> None:
    task, ids = model(encoder={"cell": cell}), tokens()
    total = torch.zeros(())
    for start in range(0, T, size):
        stop = min(start + size, T)
        total += (stop - start) * scored(task, window(ids, start, stop, start > 0)) / T
        # another split carries a state of its own
        scored(task, window(tokens(seed=2), start, stop, start > 0), "train")
    torch.testing.assert_close(total, scored(task, window(ids)), rtol=1e-5, atol=1e-6)
    # what does not continue starts afresh
    again = scored(task, window(ids, 4, 8))
    torch.testing.assert_close(again, scored(model(encoder={"cell": cell}), window(ids, 4, 8)))
    assert not torch.isclose(again, scored(task, window(ids, 4, 8, True)), atol=1e-5)


def test_no_gradient_flows_into_the_window_before() -> None:
    task, ids = model().train(), tokens()
    task.training_step(window(ids, 0, 4))
    task.training_step(window(ids, 4, 8, True)).backward()
    seen = task.network.embedding.weight.grad.abs().sum(1) > 0
    assert set(seen.nonzero().flatten().tolist()) == set(ids[:, 4:8].flatten().tolist())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_for_a_fused_optimizer_in_any_precision(precision: str) -> None:
    task = model(optimizer={**SGD, "fused": True}).train()
    before = {name: p.detach().clone() for name, p in task.named_parameters()}
    trainer = quiet_trainer(max_steps=1, precision=precision, gradient_clip_val=1e-3)
    loader = torch.utils.data.DataLoader([window(tokens())], collate_fn=lambda b: b[0])
    trainer.fit(task, loader, loader)
    change = [(p - before[name]).norm() for name, p in task.named_parameters()]
    assert float(torch.stack(change).norm().detach()) == pytest.approx(1e-3, rel=0.01)


# ---------------------------------------------------------------- what it learns


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
            self.tokens[split] = TokenFile(ids, num_bytes=size, num_unknown=0)

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


def test_two_directions_are_refused() -> None:
    with pytest.raises(UserError, match=r"in one direction, .*: set model\.encoder\.bidirectional"):
        model(encoder={"bidirectional": True})


# ---------------------------------------------------------------- whole runs


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
