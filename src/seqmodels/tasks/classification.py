"""One label for a whole sequence."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.heads import build_head, find_head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.tasks.base import TrainingTask, build_encoder, drop_tokens, mean_loss

TOKEN_EMBEDDING_SIZE = 128


class SequenceClassifier(TrainingTask):
    """Embedding, `RecurrentEncoder`, head, cross-entropy.

    All arguments are plain values and are saved, so `SequenceClassifier.load_from_checkpoint(path)`
    needs neither Hydra nor the data.

    Args:
        data: what the data decides, as `SequenceDataModule.spec` says it.
        encoder: arguments of `RecurrentEncoder`; `bidirectional` None means what the head needs.
        head: a name from `seqmodels.heads.HEADS`.
        head_options: arguments of that head's `build`.
        embedding_size: tokens: the width of the embedding (None: 128); features: the width of a
            linear projection in front of the encoder (None: no projection).
        dropout: on what the embedding (or projection) gives, and on the features the head selects.
        input_noise: in training: tokens: the share that is dropped (its embedding set to zero);
            features: the deviation of Gaussian noise that is added.
        label_smoothing: as in `torch.nn.functional.cross_entropy`.
        class_weights: one number a class, in the order of `data["classes"]`; None weighs all alike.
        optimizer: `{"_target_": "torch.optim.AdamW", "lr": ..., ...}`.
        scheduler: likewise, by step; a value "total_steps" stands for the number of steps of the
            whole training. None keeps the learning rate.

    Raises:
        UserError: naming the key and what to change.
    """

    every_step = False
    unit = "examples"
    curves = ("loss", "accuracy")

    def __init__(
        self,
        data: dict[str, Any],
        encoder: dict[str, Any],
        head: str = "last_hidden",
        head_options: dict[str, Any] | None = None,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        input_noise: float = 0.0,
        label_smoothing: float = 0.0,
        class_weights: list[float] | None = None,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        classes, num_inputs = data["classes"], data["num_inputs"]
        for name, value in (
            ("dropout", dropout),
            ("input_noise", input_noise),
            ("label_smoothing", label_smoothing),
        ):
            if value < 0 or (value >= 1 and (name != "input_noise" or data["inputs"] == "tokens")):
                raise UserError(f"model.{name} is {value}: it must be at least 0 and less than 1")
        self.class_weights: Tensor | None
        if data["inputs"] == "tokens":
            width = embedding_size or TOKEN_EMBEDDING_SIZE
            self.embedding = nn.Embedding(num_inputs, width)
        elif embedding_size is not None:
            width, self.embedding = embedding_size, nn.Linear(num_inputs, embedding_size)
        else:
            width, self.embedding = num_inputs, nn.Identity()
        self.encoder = build_encoder(width, encoder, find_head(head, every_step=self.every_step))
        self.head = build_head(head, self.encoder, len(classes), dropout, head_options)
        if class_weights is not None and len(class_weights) != len(classes):
            raise UserError(
                f"model.class_weights has {len(class_weights)} numbers, but there are "
                f"{len(classes)} classes: {', '.join(classes)}"
            )
        self.register_buffer(
            "class_weights",
            None if class_weights is None else torch.tensor(class_weights),
            persistent=False,  # they are a hyper-parameter
        )
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(len(classes), average="micro", validate_args=False),
                "macro_f1": MulticlassF1Score(len(classes), average="macro", validate_args=False),
                "loss": mean_loss(),
            }
        )
        self.train_metrics = metrics.clone("train/")
        self.validation_metrics = metrics.clone("validation/")
        self.test_metrics = metrics.clone("test/")
        self.test_confusion = MulticlassConfusionMatrix(len(classes), validate_args=False)
        # (predictions, targets, loss) of each step, on the device: handed to the metrics once an
        # epoch, because their update would wait for the device at every step
        self._steps: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {
            "train": [],
            "validation": [],
            "test": [],
        }

    def embed(self, batch: SequenceBatch) -> Float[Tensor, "batch time embedding"]:
        """The encoder's inputs, `(B, T, E)`; noisy in training."""
        noise = self.hparams["input_noise"] if self.training else 0.0
        inputs = batch.inputs
        if inputs.is_floating_point():
            if noise:
                inputs = inputs + noise * torch.randn_like(inputs)
            embedded = self.embedding(inputs)
        else:
            embedded = drop_tokens(self.embedding(inputs), noise)
        if isinstance(self.embedding, nn.Identity):
            return embedded
        return F.dropout(embedded, self.hparams["dropout"], self.training)

    def encode(self, batch: SequenceBatch) -> RNNOutput:
        """Everything that the recurrent network returns."""
        return self.encoder(self.embed(batch), batch.lengths)

    def forward(self, batch: SequenceBatch) -> Float[Tensor, "batch classes"]:
        """Logits, `(B, C)`, in the order of `data["classes"]`."""
        return self.head(self.encode(batch))

    def training_step(self, batch: SequenceBatch) -> Tensor:
        self.seen += len(batch)
        return self._step(batch, "train", self.hparams["label_smoothing"])

    def validation_step(self, batch: SequenceBatch) -> None:
        self._step(batch, "validation")

    def test_step(self, batch: SequenceBatch) -> None:
        self._step(batch, "test")

    def _step(self, batch: SequenceBatch, stage: str, label_smoothing: float = 0.0) -> Tensor:
        if batch.targets is None:
            raise ValueError("this batch has no targets: use predict_step")
        logits = self(batch)
        loss = F.cross_entropy(
            logits, batch.targets, weight=self.class_weights, label_smoothing=label_smoothing
        )
        self._steps[stage].append((logits.detach().argmax(dim=-1), batch.targets, loss.detach()))
        return loss

    def predict_step(self, batch: SequenceBatch) -> Float[Tensor, "batch classes"]:
        """Probabilities, `(B, C)`."""
        return self(batch).softmax(dim=-1)

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train", self.train_metrics)
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("validation", self.validation_metrics)

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test", self.test_metrics)

    def _log_epoch(self, stage: str, metrics: MetricCollection) -> None:
        steps, self._steps[stage] = self._steps[stage], []
        if not steps or self.trainer.sanity_checking:
            return
        predictions, targets, losses = zip(*steps, strict=True)
        preds, target = torch.cat(predictions), torch.cat(targets)
        if stage == "test":
            self.test_confusion.update(preds, target)
        metrics.update(
            preds=preds,
            target=target,
            value=torch.stack(losses),
            weight=torch.tensor([len(t) for t in targets], device=self.device),
        )
        self.log_metrics(metrics.compute(), in_bar="validation/accuracy")
        metrics.reset()
