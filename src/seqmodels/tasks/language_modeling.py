"""The next token at every step, with the state carried from window to window."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from seqmodels.batch import SequenceBatch
from seqmodels.data.windows import StreamDataset
from seqmodels.errors import UserError
from seqmodels.heads import build_head, find_head
from seqmodels.heads.softmax import AdaptiveSoftmax, LanguageHead
from seqmodels.nn.encoder import LockedDropout, RNNOutput
from seqmodels.nn.state import State, parts_of, without_gradient
from seqmodels.tasks.base import TrainingTask, build_encoder, drop_tokens, mean_loss


class LanguageModel(TrainingTask):
    """Embedding, `RecurrentEncoder` (one direction), every step of `output` into a softmax.

    Where a batch `continues` the one before, as the windows of a stream do, its first step starts
    from that one's final `(h_n, c_n)`, detached: truncated backpropagation through time. Training,
    validation and test each carry a state of their own.

    All arguments are plain values and are saved, so `LanguageModel.load_from_checkpoint(path)`
    needs neither Hydra nor the data.

    Args:
        data: what the data decides, as `StreamDataModule.spec` says it. A training window of
            another length than `data["window"]` has its learning rate scaled in proportion.
        encoder: arguments of `RecurrentEncoder`; its `dropout` acts between layers.
        head: `softmax`, `tied_softmax` or `adaptive_softmax`.
        head_options: arguments of that head's `build`.
        embedding_size: None: as wide as `output`.
        dropout: on `output`, in front of the softmax.
        embedding_dropout: on the embeddings; None: as `dropout`.
        input_noise: the share of the input tokens that is dropped in training (embedding zero).
        label_smoothing: as in `torch.nn.functional.cross_entropy`, in training.
        locked_dropout: all dropout drops the same features at all steps of a window (Gal and
            Ghahramani 2016, https://arxiv.org/abs/1512.05287).
        optimizer, scheduler: as in `SequenceClassifier`.

    Raises:
        UserError: naming the key and what to change.
    """

    every_step = True
    unit = "tokens"
    curves = ("loss", "bits_per_byte")
    head: LanguageHead

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "softmax",
        head_options: dict[str, Any] | None = None,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        embedding_dropout: float | None = None,
        locked_dropout: bool = False,
        input_noise: float = 0.0,
        label_smoothing: float = 0.0,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        if embedding_dropout is None:
            embedding_dropout = dropout
        for name, value in (
            ("dropout", dropout),
            ("embedding_dropout", embedding_dropout),
            ("input_noise", input_noise),
            ("label_smoothing", label_smoothing),
        ):
            if not 0 <= value < 1:
                raise UserError(f"model.{name} is {value}: it must be at least 0 and less than 1")
        head_class = find_head(head, every_step=True)
        if issubclass(head_class, AdaptiveSoftmax) and not data.get("frequent_first", True):
            raise UserError(
                f"model.head={head} needs token ids that go from frequent to rare, which those of "
                "this tokenizer do not: set data.tokenizer=word, or model.head=softmax"
            )
        width = embedding_size or encoder.get("proj_size") or encoder["hidden_size"]
        self.embedding = nn.Embedding(data["num_inputs"], width)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        make = LockedDropout if locked_dropout else nn.Dropout
        self.embedding_dropout = make(embedding_dropout)
        options = {"locked_dropout": locked_dropout, **encoder}
        self.encoder = build_encoder(width, options, head_class)
        built = build_head(
            head, self.encoder, data["num_inputs"], options=head_options, embedding=self.embedding
        )
        assert isinstance(built, LanguageHead)
        self.head = built
        self.head.dropout = make(dropout)

        self.train_loss = mean_loss()
        self.validation_loss = mean_loss()
        self.test_loss = mean_loss()
        # (loss, tokens) of each step: the losses stay on the device until the end of the epoch
        self._steps: dict[str, list[tuple[Tensor, int]]] = {
            "train": [],
            "validation": [],
            "test": [],
        }
        self._carried: dict[str, State] = {}
        self._scale = 1.0
        self._since, self._training_seconds, self._seen_before = 0.0, 0.0, 0

    def embed(self, batch: SequenceBatch) -> Float[Tensor, "batch time embedding"]:
        noise = self.hparams["input_noise"] if self.training else 0.0
        return self.embedding_dropout(drop_tokens(self.embedding(batch.inputs), noise))

    def encode(self, batch: SequenceBatch, state: State | None = None) -> RNNOutput:
        """Everything that the recurrent network returns, started from `state`."""
        return self.encoder(self.embed(batch), batch.lengths, state)

    def forward(
        self, batch: SequenceBatch, state: State | None = None
    ) -> Float[Tensor, "batch time vocabulary"]:
        """Logits of the next token at every step, `(B, T, V)`."""
        return self.head(self.encode(batch, state))

    def training_step(self, batch: SequenceBatch) -> Tensor:
        self.seen += int(batch.lengths.sum())
        return self._step(batch, "train")

    def validation_step(self, batch: SequenceBatch) -> None:
        self._step(batch, "validation")

    def test_step(self, batch: SequenceBatch) -> None:
        self._step(batch, "test")

    def _step(self, batch: SequenceBatch, stage: str) -> Tensor:
        if batch.targets is None:
            raise ValueError("this batch has no targets: a language model needs the next tokens")
        state = self._carried.get(stage) if batch.continues else None
        if state is not None and (rows := parts_of(state)[0].shape[1]) != len(batch):
            raise UserError(
                f"the checkpoint carries the state of {rows} streams and this training has "
                f"{len(batch)}: keep data.batch_size as it was"
            )
        states = self.encode(batch, state)
        self._carried[stage] = without_gradient(states.state)  # starts the next window
        smoothing = self.hparams["label_smoothing"] if stage == "train" else 0.0
        loss = self.head.loss(states, batch.targets, smoothing)
        self._steps[stage].append((loss.detach(), int(batch.lengths.sum())))
        return loss

    # a window of another length than usual: the learning rate in proportion (AWD-LSTM)

    def on_train_batch_start(self, batch: SequenceBatch, batch_idx: int) -> None:
        window = self.hparams["data"].get("window")
        self._scale = batch.inputs.shape[1] / window if window else 1.0

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Any = None,
    ) -> None:
        usual = [group["lr"] for group in optimizer.param_groups]
        for group, lr in zip(optimizer.param_groups, usual, strict=True):
            group["lr"] = lr * self._scale
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        for group, lr in zip(optimizer.param_groups, usual, strict=True):
            group["lr"] = lr

    # the state between windows belongs to the checkpoint

    def process_state(self) -> dict[str, Any]:
        state = self._carried.get("train")
        if state is None:
            return {}
        return {"carried": [part.cpu() for part in parts_of(state)]}

    def restore_process_state(self, state: dict[str, Any]) -> None:
        if "carried" in state:
            parts = tuple(part.to(self.device) for part in state["carried"])
            self._carried["train"] = parts if len(parts) == 2 else parts[0]

    # metrics

    def on_train_start(self) -> None:
        super().on_train_start()
        self._start_clock()  # an epoch that is resumed in the middle does not start again

    def on_train_epoch_start(self) -> None:
        self._start_clock()

    def on_train_batch_end(self, *args: Any) -> None:
        super().on_train_batch_end(*args)
        now = time.perf_counter()
        self._training_seconds += now - self._since
        self._since = now

    def on_validation_end(self) -> None:
        self._since = time.perf_counter()  # validation may take place inside an epoch

    def _start_clock(self) -> None:
        self._since, self._training_seconds, self._seen_before = time.perf_counter(), 0.0, self.seen

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train", self.train_loss, self.trainer.train_dataloader)
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        seen = (self.seen - self._seen_before) * self.trainer.world_size
        self.log("train/tokens_per_second", seen / self._training_seconds)

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("validation", self.validation_loss, self.trainer.val_dataloaders)

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test", self.test_loss, self.trainer.test_dataloaders)

    def _log_epoch(self, stage: str, metric: MeanMetric, loader: Any) -> None:
        steps, self._steps[stage] = self._steps[stage], []
        if stage != "train":
            self._carried.pop(stage, None)
        if not steps or self.trainer.sanity_checking:
            return
        losses, tokens = zip(*steps, strict=True)
        metric.update(torch.stack(losses), torch.tensor(tokens, device=self.device))
        self.log_metrics(
            metrics_of(stage, metric.compute(), loader), in_bar="validation/perplexity"
        )
        metric.reset()


def metrics_of(stage: str, loss: Tensor, loader: Any) -> dict[str, Tensor]:
    """The mean loss in nats a token, as perplexity, and as bits a byte of the text where the
    loader reads a text: the one to compare tokenizers by. What is unknown to the vocabulary costs
    8 bits a byte there, on top of the loss, because it has to be spelled out."""
    metrics = {f"{stage}/loss": loss, f"{stage}/perplexity": loss.exp()}
    data = getattr(loader, "dataset", None)
    if isinstance(data, StreamDataset):
        bits = loss / math.log(2) * data.tokens_per_byte + data.spelling_bits_per_byte
        metrics[f"{stage}/bits_per_byte"] = bits
    return metrics
