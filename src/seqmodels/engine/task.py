"""The engine of every task: steps, epochs, metrics, optimisation, resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric, MetricCollection

from seqmodels.arguments import (
    ArgumentsOf,
    Name,
    NonNegativeFraction,
    OfEncoder,
    argument_names,
    check_own_init,
    checked,
)
from seqmodels.batch import AnyBatch
from seqmodels.engine.budget import find_budget, seconds_used
from seqmodels.engine.contract import Step, gather, join, share_of_targets
from seqmodels.engine.fitting import build_encoder, check_embedding, no_output
from seqmodels.engine.metrics import metric_named
from seqmodels.engine.network import Network
from seqmodels.engine.optimization import (
    Schedule,
    build_optimizer,
    clip_gradients,
    is_stretched,
    monitored,
)
from seqmodels.engine.own_metrics import build_metrics, check_fit, compute, update
from seqmodels.engine.resume import check_fused, replan, restored_state, saved_state
from seqmodels.errors import UserError, not_a_task, refusing
from seqmodels.heads import Head, build_head, find_head
from seqmodels.instantiate import allowed_class
from seqmodels.nn.characters import build_characters
from seqmodels.nn.convolutions import Convolutions
from seqmodels.nn.embedding import (
    EmbeddingOptions,
    LockedDropout,
    VectorEmbedding,
    build_embedding,
)
from seqmodels.nn.outputs import Output


class Task(Network, pl.LightningModule):
    """Embedding, `RecurrentEncoder`, head, and the loops around them.

    A new task is a subclass with a `contract`, `make_output`, `step`, `metrics` and `describe`, in
    a file of its own in this folder. All arguments are plain values and are saved, so
    `load_from_checkpoint` needs neither Hydra nor the data.

    Args:
        data: what the data decides, as the data module's `spec` says it.
        encoder: arguments of `RecurrentEncoder`; for `bidirectional`, None means what head and task
            need, and "if_possible" two directions unless one of them needs one.
        head: a name from `seqmodels.heads.HEADS`.
        head_options: arguments of that head's `build`.
        embedding: arguments of `EmbeddingOptions`.
        dropout: on the features that the head selects.
        locked_dropout: all dropout drops the same features at all steps of a row (Gal and
            Ghahramani 2016, https://arxiv.org/abs/1512.05287).
        optimizer: `{"_target_": "torch.optim.AdamW", "lr": ..., ...}`.
        scheduler: a dict with a `_target_`, by step; a value "total_steps" stands for the length of
            the whole training, whether steps, epochs or time end it. None keeps the learning rate.
        metrics: more metrics of validation and test, by name: `{"auroc": {"_target_":
            "torchmetrics.AUROC", ...}}`; `higher_is_better` beside the arguments says so of a class
            that doesn't.
        own: further hyper-parameters of a subclass, which its `__init__` names; saved as well.

    Raises:
        UserError: if an argument is out of range, or arguments don't fit together.
    """

    curves: tuple[str, ...] = ("loss",)  # the metrics to draw, by epoch
    bar: ClassVar[str] = "loss"  # the metric of the validation in the progress bar
    decides_in_training: ClassVar[bool] = True  # whether training batches give metrics too
    tells_rows: bool = False  # whether a test step gives the outcome and the loss of each row

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check_own_init(cls, "model")

    @checked("model")
    def __init__(
        self,
        data: dict[str, Any],
        encoder: Annotated[dict[str, Any], OfEncoder()],
        head: Name = "last_hidden",
        head_options: dict[str, Any] | None = None,
        embedding: Annotated[dict[str, Any], ArgumentsOf("seqmodels.nn.embedding.EmbeddingOptions")]
        | None = None,
        dropout: NonNegativeFraction = 0.0,
        locked_dropout: bool = False,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
        metrics: dict[str, dict[str, Any]] | None = None,
        **own: Any,
    ) -> None:
        values = {k: v for k, v in locals().items() if k not in ("self", "own", "__class__")}
        super().__init__()
        for name in own.keys() - argument_names(type(self)):
            raise TypeError(f"unexpected keyword argument {name!r}")
        self.save_hyperparameters({**values, **own}, logger=False)
        self.contract = self.contract_for(head)
        self.seen = 0  # examples or tokens in training, by this process
        self.split = "train"  # of the batch that `step` gets
        self.steps: dict[str, list[Step]] = {"train": [], "validation": [], "test": []}
        self.allowed_targets: tuple[str, ...] = ()  # of `instantiate`; never from a checkpoint
        self.fingerprint: str | None = None  # of the data, saved with the weights
        self.total_steps: int | None = None  # for which the scheduler is planned
        self.replan = False  # whether a resumed optimiser and scheduler take today's arguments
        self._resumed: dict[str, Any] | None = None
        self.restored = False  # whether the training has begun, with all that a checkpoint holds
        self._earlier: dict[str, Tensor] = {}  # of an epoch that is resumed in the middle

        make_dropout = LockedDropout if locked_dropout else nn.Dropout
        options = EmbeddingOptions(**(embedding or {}))
        share = dropout if options.dropout is None else options.dropout
        self.embedding_options = options = replace(options, dropout=share)
        self.embedding, width = build_embedding(self.inputs_of(data), options, make_dropout(share))
        self.characters = build_characters(data, options, make_dropout(share))
        width += self.characters.width if self.characters else 0
        check_embedding(self.contract, embedding or {})
        self.convolutions = None
        if options.convolutions is not None:
            self.convolutions = Convolutions(width, options.channels, options.convolutions)
            width = options.channels
        self.encoder = build_encoder(
            width,
            {"locked_dropout": locked_dropout, **encoder},
            find_head(head, per=self.contract.per, target=self.contract.target),
            self.contract,
        )
        self.head: Head = build_head(
            head, self.encoder, self.make_output, make_dropout(dropout), head_options
        )
        self.train_metrics = self._metrics_of("train")
        self.validation_metrics = self._metrics_of("validation")
        self.test_metrics = self._metrics_of("test")
        taken = {*self.metrics(), "loss", *self.metrics_of_loss(torch.zeros(()), None)}
        self.own_metrics = nn.ModuleDict(
            {split: build_metrics(metrics, taken=taken) for split in ("validation", "test")}
        )

    def __setattr__(self, name: str, value: Any) -> None:
        # PyTorch looks among weights and modules first, and Lightning notes the name of each hook
        if (value is None or isinstance(value, str)) and name in self.__dict__:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def _metrics_of(self, split: str) -> MetricCollection:
        metrics = self.metrics() if split != "train" or self.decides_in_training else {}
        for name in metrics:
            metric_named(name)  # an unknown one is an error now, not after the training
        loss = MeanMetric(nan_strategy=math.nan)  # which keeps a nan instead of leaving it out
        return MetricCollection({**metrics, "loss": loss}, prefix=f"{split}/")

    # what a task defines

    @classmethod
    def check(cls, model: Mapping[str, Any]) -> Callable[..., Output]:
        """Checks the arguments of a task before data is read, and returns what to call instead of
        `make_output` to check that head, encoder and output fit together.

        Args:
            model: `config.model`.

        Raises:
            UserError: if an argument is out of range, or arguments don't fit together.
        """
        return no_output

    @staticmethod
    def settle(model: Mapping[str, Any], trial: Any = None) -> tuple[dict[str, Any], str]:
        """What to set in `config.model` before the network is built, in place of `auto`, and why.
        `trial`: what builds the task with such values, the trainer and the data of a training."""
        return {}, ""

    def inputs_of(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """What `data` says of inputs, changed as `cut` changes a batch."""
        return data

    def make_output(self, width: int, **options: Any) -> Output:
        """Logits, loss and decision from features of this width; `options` are the head's."""
        raise NotImplementedError(f"{type(self).__name__} must define make_output")

    def step(self, batch: Any) -> Step:
        """The loss of one batch of `self.split`, and what the metrics need."""
        raise NotImplementedError(f"{type(self).__name__} must define step")

    def metrics(self) -> dict[str, Metric]:
        """What is measured over an epoch, besides the loss, by name."""
        return {}

    def metrics_of_loss(self, loss: Tensor, dataset: Any) -> dict[str, Tensor]:
        """What follows from the mean loss of an epoch over this dataset, by name."""
        return {}

    def describe(self, batch: Any) -> list[dict[str, Any]]:
        """The prediction for each row, in plain values that JSON can hold."""
        raise NotImplementedError(f"{type(self).__name__} must define describe")

    def score_parts(self, values: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """The scores of parts of a test, such as each class: rows of `scores.csv`. Every process
        calls it with what `gather` gives of its own steps, and gets the scores of all."""
        return []

    def outcomes(self, batch: Any) -> list[dict[str, Any]]:
        """The target and the prediction of each row of a test, in plain values: columns of
        `predictions.csv`. A dict in it is a column for each of its keys."""
        describes = type(self).describe is not Task.describe
        predictions = self.describe(batch) if describes else [None] * len(batch)
        rows = zip(batch.targets.tolist(), predictions, strict=True)
        return [{"target": target, "prediction": prediction} for target, prediction in rows]

    def decision(self) -> dict[str, Any]:
        """The weights that a decision needs and the graph of an export lacks, which ends with the
        logits: plain values by name, that JSON can hold."""
        return {}

    def initialize(self, data: pl.LightningDataModule) -> None:
        """Called once, after building and before a new training: sets weights from the data. Here,
        to the pre-trained vectors of its vocabulary, if it has some.

        Raises:
            UserError: for options of vectors without vectors.
        """
        if isinstance(self.embedding, VectorEmbedding):
            self.embedding.vectors.weight.data.copy_(data.vectors)  # type: ignore[attr-defined]
        elif self.embedding_options.freeze or self.embedding_options.vectors_lr is not None:
            raise UserError(
                "model.embedding.freeze and vectors_lr are about pre-trained vectors, and this "
                "data has none: set data.vectors, or leave them out"
            )

    # steps and epochs

    def training_step(self, batch: AnyBatch) -> Tensor:
        step = self._step(batch, "train")
        by_sequence = self.contract.kind.unit == "examples"
        self.seen += len(batch) if by_sequence else int(batch.lengths.sum())
        share = share_of_targets(step.weight, self.device)
        return step.loss if isinstance(share, float) else step.loss * share

    def validation_step(self, batch: AnyBatch) -> None:
        self._step(batch, "validation")

    def test_step(self, batch: AnyBatch) -> dict[str, Any]:
        if not self.tells_rows:
            self._step(batch, "test")
            return {}
        self.remembers = {}
        try:
            self._step(batch, "test")
            return {"rows": self.outcomes(batch), "losses": self.losses(batch).tolist()}
        finally:
            self.remembers = None

    def predict_step(self, batch: AnyBatch) -> list[dict[str, Any]]:
        return self.describe(batch)

    def _step(self, batch: AnyBatch, split: str) -> Step:
        if batch.targets is None:
            raise ValueError("this batch has no targets to learn from: use predict_step")
        self.split = split
        step = self.step(batch)
        if self.measures_more:
            update(self.own_metrics[split], *_scored(step))  # type: ignore[arg-type]
        # kept on the device: the metrics are updated once an epoch, because their update would
        # wait for the device at every step
        kept = self.steps[split]
        if len(kept) > 1 and kept[0].sums is not None and kept[-1].sums is not None:
            # the newest stays as it is, because it may be logged
            kept[0] = replace(kept[0], sums=kept[0].sums + kept[-1].sums)
            kept[-1] = replace(kept[-1], sums=None)
        kept.append(self.reduced(step, batch))
        return step

    def reduced(self, step: Step, batch: Any) -> Step:
        """What to keep of a step until the epoch ends; a task may replace predictions by sums."""
        return replace(step, loss=step.loss.detach(), scored=None)

    @property
    def measures_more(self) -> bool:
        """Whether `model.metrics` measure the batch that `step` gets."""
        return self.split != "train" and bool(self.hparams["metrics"])

    def try_metrics(self, batch: AnyBatch) -> None:
        """Tries the metrics of `model.metrics` on a batch of the validation, before the training.

        Raises:
            UserError: naming the metric that does not fit.
        """
        if self.hparams["metrics"]:
            self.split = "validation"
            self.eval()
            with torch.no_grad():
                check_fit(self.own_metrics["validation"], *_scored(self.step(batch)))  # type: ignore[arg-type]
            self.train()

    def on_train_epoch_end(self) -> None:
        self._end_epoch("train", self.train_metrics, self.trainer.train_dataloader)
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[-1]["lr"])  # the head's

    def on_validation_epoch_end(self) -> None:
        self._end_epoch("validation", self.validation_metrics, self.trainer.val_dataloaders)

    def on_test_epoch_end(self) -> None:
        self._end_epoch("test", self.test_metrics, self.trainer.test_dataloaders)

    def on_train_epoch_start(self) -> None:  # not for an epoch that is resumed in the middle
        self._earlier = {}

    def _epoch_so_far(self, split: str) -> dict[str, Tensor]:
        values = gather(self.steps[split], self.contract.per)
        return join(self._earlier if split == "train" else {}, values)

    def _end_epoch(self, split: str, metrics: MetricCollection, loader: Any) -> None:
        values = self._epoch_so_far(split)
        self.steps[split] = []
        own: Any = nn.ModuleDict() if split == "train" else self.own_metrics[split]
        if not values or self.trainer.sanity_checking:
            for metric in own.values():  # they count batches as these come
                metric.reset()
            return
        measured = self._measure(split, metrics, values, loader)
        measured |= {f"{split}/{name}": value for name, value in compute(own).items()}
        loss = measured[f"{split}/loss"]
        if split == "validation" and not bool(loss.isfinite()):  # before its weights are saved
            raise UserError(
                f"validation/loss is {float(loss)} after {self.trainer.global_step} steps, so the "
                "training has diverged: lower model.optimizer.lr, or set trainer.gradient_clip_val"
            )
        for name, value in measured.items():
            self.log(name, value, prog_bar=name == f"validation/{self.bar}")
        if split == "validation" and self.trainer.state.fn == "fit":
            for config in self.trainer.lr_scheduler_configs:
                if isinstance(config.scheduler, Schedule):  # not the one that tries rates
                    config.scheduler.validated(measured)

    def measure_steps(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The training metrics of some steps, of all processes, such as `train/loss_step`; on the
        device.

        Args:
            values: as `gather` gives them.
        """
        measured = self._measure("train", self.train_metrics, values, self.trainer.train_dataloader)
        return {f"{name}_step": value for name, value in measured.items()}

    def score_each(
        self, parts: Iterable[tuple[Mapping[str, Any], dict[str, Tensor]]]
    ) -> list[dict[str, Any]]:
        """The `metrics` of each part of a test, of all processes, after its name: for
        `score_parts`. What they take is of the part only."""
        of_task: dict[str, Any] = self.metrics()
        metrics, rows = MetricCollection(of_task, compute_groups=False).to(self.device), []
        for name, values in parts:
            metrics.update(**values, targets=values["target"])
            known: Any = self.all_gather((~values["target"].isnan()).sum())
            found = metrics.compute()
            measured = {metric: float(found[metric]) for metric in of_task}
            rows.append({**name, "count": int(known.sum()), **measured})
            metrics.reset()
        return rows

    def _measure(
        self, split: str, metrics: MetricCollection, values: dict[str, Tensor], loader: Any
    ) -> dict[str, Tensor]:
        with refusing(f"{type(self).__name__}.metrics()", TypeError, ValueError):
            metrics.update(**values, **{"targets": values["target"]} if "target" in values else {})
        measured: dict[str, Tensor] = metrics.compute()
        metrics.reset()
        of_loss = self.metrics_of_loss(measured[f"{split}/loss"], getattr(loader, "dataset", None))
        return {**measured, **{f"{split}/{name}": value for name, value in of_loss.items()}}

    # optimisation

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return self.build_optimizers(self.trainer, self.trainer.datamodule)  # type: ignore[attr-defined]

    def build_optimizers(
        self, trainer: pl.Trainer, data: pl.LightningDataModule | None
    ) -> OptimizerLRScheduler:
        """Optimiser and scheduler for such a training.

        Raises:
            UserError: if a class refuses its arguments.
        """
        scheduler, budget = self.hparams["scheduler"], find_budget(trainer, data)
        if budget is not None and is_stretched(scheduler):
            self.total_steps = budget.places
        return build_optimizer(
            dict(self.named_parameters()),
            self.hparams["optimizer"],
            scheduler,
            budget,
            rates=self.rates(),
            seconds=lambda: seconds_used(trainer),
            monitor=monitored(trainer),
            allowed_targets=self.allowed_targets,
        )

    def rates(self) -> dict[str, float]:
        """The learning rates of parameters whose names begin so, if not the optimiser's."""
        rate = self.embedding_options.vectors_lr
        return {} if rate is None else {"embedding.vectors.": rate}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    # checkpoints and resume

    def process_state(self) -> dict[str, Any]:
        """What this process alone has and needs to resume, on the CPU, besides random numbers."""
        epoch = self._epoch_so_far("train")
        return {"epoch": {name: value.cpu() for name, value in epoch.items()}}

    def restore_process_state(self, state: dict[str, Any]) -> None:
        """Takes what `process_state` gave."""
        self._earlier = {name: value.to(self.device) for name, value in state["epoch"].items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["resume"] = saved_state(self.device, self.total_steps, self.process_state())
        checkpoint["fingerprint"] = self.fingerprint

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resumed = checkpoint.get("resume")
        if self.replan:
            replan(checkpoint, self.hparams["optimizer"])

    def on_train_start(self) -> None:
        for optimizer in self.trainer.optimizers:
            check_fused(optimizer)
        if self._resumed is not None:
            process = restored_state(self._resumed, self.device, self.total_steps, self.trainer)
            self.restore_process_state(process)
            self._resumed = None

    def on_train_batch_end(self, *_: Any) -> None:
        if self._earlier and not self.restored:
            self._epoch_so_far("train")  # one of a checkpoint that does not fit is an error now
        self.restored = True  # the optimizer's state too, which its first step has used


def _scored(step: Step) -> tuple[Any, Any]:
    predictions, targets = step.scored or (step.predictions, step.targets)
    if predictions is None or targets is None:
        raise UserError(
            "model.metrics: this model predicts nothing that they measure: leave it out"
        )
    return predictions, targets


def task_class(model: Mapping[str, Any], allowed_targets: Iterable[str]) -> type[Task]:
    """The task that `config.model` names.

    Raises:
        UserError: if the name is not allowed, or does not name a task.
    """
    found = allowed_class(model, allowed_targets)
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise not_a_task(model["_target_"])
    return found
