"""The engine of every task: steps, epochs, metrics, optimisation, resume."""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from seqmodels.arguments import (
    ArgumentsOf,
    Name,
    NonNegativeFraction,
    OfEncoder,
    arguments,
    check_own_init,
    checked,
)
from seqmodels.batch import SequenceBatch
from seqmodels.device import subnormals_as_zero
from seqmodels.engine.building import build_convolutions, build_encoder
from seqmodels.engine.contract import Contract, Step, Sums, share_of_loss
from seqmodels.engine.optimization import build_optimizer, clip_gradients, step_plateaus
from seqmodels.engine.own_metrics import build_metrics, compute, update
from seqmodels.engine.resume import replan, restored_state, saved_state
from seqmodels.errors import UserError, listed
from seqmodels.heads import build_head, find_head
from seqmodels.metrics import metric_named
from seqmodels.network import Network
from seqmodels.nn.embedding import (
    HIGHEST_LEVEL,
    LOWEST_LEVEL,
    EmbeddingOptions,
    Levels,
    LockedDropout,
    VectorEmbedding,
    build_embedding,
)
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import Output, Score

log = logging.getLogger(__name__)

LOGGED = "logged"
# A calibration learns from at most so many rows of the validation split.
MOST_ROWS = 5_000
Described = list[dict[str, Any]]
"""A dict for each row of a batch, of plain values that JSON can hold."""


class Task(pl.LightningModule):
    """Trains a `network`: loops, metrics, optimisation and resume.

    A new task is a subclass with a `contract`, `make_output`, `step`, `scores` and `describe`. All
    arguments are plain values and are saved, so `load_from_checkpoint` needs neither Hydra nor the
    data.

    Args:
        data: what the data decides, as the data module's `spec` says it.
        encoder: arguments of `RecurrentEncoder`; for `bidirectional`, None means what head and task
            need, and "if_possible" two directions unless one of them needs one.
        head: a name from `seqmodels.heads.HEADS`.
        head_options: arguments of that head's `build`.
        embedding: arguments of `EmbeddingOptions`.
        output: arguments of the task's `Options`.
        dropout: on the features that the head selects; and what `embedding.dropout` is if it is
            None.
        locked_dropout: all dropout drops the same features at all steps of a row (Gal and
            Ghahramani 2016, https://arxiv.org/abs/1512.05287).
        optimizer: `{"_target_": "torch.optim.AdamW", "lr": ..., ...}`.
        scheduler: a dict with a `_target_`, as `build_optimizer` takes it. None keeps the rate.
        metrics: more metrics of validation and test, by name: `{"auroc": {"_target_":
            "torchmetrics.AUROC", ...}}`; `higher_is_better` beside the arguments says so of a class
            that doesn't.
        own: further hyper-parameters of a subclass, which its `__init__` names; saved as well.
    """

    contract: Contract
    # The class of `self.output`, which says how the network's output learns.
    Options: ClassVar[type[Any]] = object
    # The names of what `scores` returns for validation and test.
    measures: Sequence[str] = ()
    # The metrics that are drawn by epoch.
    curves: tuple[str, ...] = ("loss",)
    # The metric of the validation in the progress bar.
    bar: ClassVar[str] = "loss"
    # What `calibrate` learned, in plain values, which `load_run` takes from `result.json`.
    calibration: list[list[float]] | None = None
    # What `predictions.csv` will have of each row of a test, by the row's number; None: nothing.
    told: dict[int, dict[str, Any]] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check_own_init(cls, "model")

    @checked("model")
    def __init__(
        self,
        data: dict[str, Any],
        encoder: Annotated[dict[str, Any], OfEncoder()],
        head: Name = "concat_pool",
        head_options: dict[str, Any] | None = None,
        embedding: Annotated[dict[str, Any], ArgumentsOf("seqmodels.nn.embedding.EmbeddingOptions")]
        | None = None,
        output: Annotated[dict[str, Any], ArgumentsOf("Options")] | None = None,
        dropout: NonNegativeFraction = 0.0,
        locked_dropout: bool = False,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
        metrics: dict[str, dict[str, Any]] | None = None,
        **own: Any,
    ) -> None:
        hyper_parameters = {**locals(), **own}
        for name in ("self", "own", "__class__"):
            del hyper_parameters[name]
        super().__init__()
        signature = arguments(type(self))  # type: ignore[arg-type]  # a class of modules has a hash
        for name in own.keys() - signature.arguments.keys():
            raise TypeError(f"unexpected keyword argument {name!r}")
        self.save_hyperparameters(hyper_parameters, logger=False)
        self.contract = self.contract_for(head)
        self.output = self.Options(**(output or {}))
        # How many examples or tokens this process has trained on.
        self.seen = 0
        # The split of the batch that `step` gets.
        self.split = "train"
        # The sums of an epoch of each split; under LOGGED, what those of the training were when its
        # metrics were last logged by step.
        self.sums: dict[str, Sums] = defaultdict(Sums)
        # Classes that `instantiate` may build besides ours. They never come from a checkpoint.
        self.allowed_targets: tuple[str, ...] = ()
        # The fingerprint of the data, which is saved with the weights.
        self.fingerprint: str | None = None
        # The keys of optimiser, scheduler and end that a resume has changed.
        self.changed: Collection[str] = ()
        self._resumed: list[dict[str, Any]] | None = None

        self.embedding_options = EmbeddingOptions(**(embedding or {}))
        if self.embedding_options.dropout is None:
            self.embedding_options = replace(self.embedding_options, dropout=dropout)
        self.network = self.build_network()
        for name in self.measures:
            metric_named(name)  # an unknown one is an error now, not after the training
        metrics_of_loss = self.metrics_of_loss(torch.zeros(()), None)
        taken_names = {*self.measures, "loss", *metrics_of_loss}
        # The metrics of `model.metrics`, by split.
        self.own_metrics: Any = nn.ModuleDict()
        for split in ("validation", "test"):
            self.own_metrics[split] = build_metrics(metrics, taken=taken_names)

    # How its network is built.

    def build_network(self) -> Network:
        """The network of these hyper-parameters, untrained."""
        options = self.embedding_options
        data = self.inputs_of(self.hparams["data"])
        embedding, width = build_embedding(data, options, self.make_dropout(options.dropout or 0.0))
        convolutions = build_convolutions(width, options, self.contract)
        if convolutions is not None:
            width = options.channels
        head_class = find_head(
            self.hparams["head"], per=self.contract.per, target=self.contract.target
        )
        encoder_options = {
            "locked_dropout": self.hparams["locked_dropout"],
            **self.hparams["encoder"],
        }
        encoder = build_encoder(width, encoder_options, head_class, self.contract)
        head = build_head(
            self.hparams["head"],
            encoder,
            partial(self.make_output, **self.output_options(embedding)),
            self.make_dropout(self.hparams["dropout"]),
            self.hparams["head_options"],
        )
        return self.make_network(
            embedding,
            encoder,
            head,
            convolutions=convolutions,
            carries_state=self.contract.stateful,
        )

    def make_network(self, *parts: Any, **options: Any) -> Network:
        """The network of these parts: override it for another kind."""
        return Network(*parts, **options)

    def output_options(self, embedding: nn.Module) -> dict[str, Any]:
        """Arguments of `make_output` besides those of the head."""
        return {}

    def make_dropout(self, share: float) -> nn.Module:
        """A dropout of this share, locked if the task's are."""
        return LockedDropout(share) if self.hparams["locked_dropout"] else nn.Dropout(share)

    def inputs_of(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """What `data` says of inputs, changed as the network's `rows_to_read` changes a batch."""
        return data

    def forward(self, batch: Any) -> Tensor:
        """The logits of a batch."""
        return self.network.read_out(self.network.encode(batch, for_head=True), batch)

    # What a task defines.

    @classmethod
    def contract_for(cls, head: str) -> Contract:
        """The contract of this task with the head of this name: override it where that depends on
        the head. Raises UserError for an unknown one."""
        return cls.contract

    def make_output(self, width: int, **options: Any) -> Output:
        """Logits, loss and decision from features of this width; `options` are the head's."""
        raise NotImplementedError(f"{type(self).__name__} must define make_output")

    def score(self, batch: Any) -> Score:
        """What the targets of a batch cost, the decision, and what the network read."""
        return self.network.score(batch)

    def step(self, batch: Any) -> Step:
        """What one batch of `self.split` costs, and what `scores` are made of."""
        raise NotImplementedError(f"{type(self).__name__} must define step")

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is measured besides the loss, by name, from the sums of all steps of an epoch or a
        part of it."""
        return {}

    def metrics_of_loss(self, loss: Tensor, dataset: Any) -> dict[str, Tensor]:
        """What follows from the mean loss of an epoch over this dataset, by name."""
        return {}

    def describe(self, batch: Any, states: RNNOutput | None = None) -> Described:
        """The prediction for each row; `states` are what the network's `encode` gave, if the batch
        is read."""
        raise NotImplementedError(f"{type(self).__name__} must define describe")

    @property
    def answers(self) -> Sequence[str]:
        """The names of its classes or values; empty if no single one can be attributed to steps."""
        data = self.hparams["data"]
        return data.get("classes") or data.get("values") or ()

    def score_parts(self, sums: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """The scores of parts of a test, such as each class: rows of `scores.csv`."""
        return []

    def targets_of(self, batch: Any) -> list[Any]:
        """The target of each row, in plain values, as `describe` gives the prediction."""
        return batch.targets.tolist()

    def outcomes(self, batch: Any, score: Score) -> Described:
        """The target and the prediction of each row of a test, whose score it is: columns of
        `predictions.csv`. A dict in it is a column for each of its keys."""
        predictions: Sequence[dict[str, Any] | None] = [None] * len(batch)
        if type(self).describe is not Task.describe:
            predictions = self.describe(batch, score.states)
        targets = self.targets_of(batch)
        return [
            {"target": target, "prediction": prediction}
            for target, prediction in zip(targets, predictions, strict=True)
        ]

    def pictures(self, dataset: Any, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        """Matplotlib's figures, and HTML, of a test of this dataset, by their names in `figures/`
        of the run folder."""
        return {}

    def some_of(self, dataset: Any, count: int) -> Any:
        """A batch of so many rows, if there are as many, that are evenly spread over a dataset."""
        count = min(count, len(dataset))
        places = torch.linspace(0, len(dataset) - 1, count, dtype=torch.float64)
        row_numbers = places.round().int().tolist()
        return self.ready(dataset.__getitems__(row_numbers))

    def ready(self, batch: Any) -> Any:
        """A batch on the task's device, its features in the type of the weights."""

        def in_dtype_of_weights(inputs: Tensor) -> Tensor:
            return inputs.to(self.dtype) if inputs.is_floating_point() else inputs

        return batch.to(self.device).map(in_dtype_of_weights, "inputs")

    def initialize(self, data: pl.LightningDataModule) -> None:
        """Called once, after building and before a new training: sets weights from the data. Here,
        to the pre-trained vectors of its vocabulary, if it has some. Warns of numbers that levels
        don't tell apart."""
        embeddings = [
            module
            for module in self.network.embedding.modules()
            if isinstance(module, VectorEmbedding)
        ]
        for embedding in embeddings:
            embedding.vectors.weight.data.copy_(data.vectors)  # type: ignore[attr-defined]
        if self.embedding_options.freeze and not embeddings:
            raise UserError("model.embedding.freeze needs pre-trained vectors: set data.vectors")
        for module in self.network.embedding.modules():
            if isinstance(module, Levels):
                self._warn_of_crowded(module, data)

    def _warn_of_crowded(self, levels: Levels, data: Any) -> None:
        """Warns of the features of which nearly all steps of training are in one of the levels."""
        with torch.random.fork_rng([]):  # The loader draws a number.
            batch = self.ready(next(iter(data.train_dataloader())))
        crowded = levels.crowded(batch.inputs[batch.mask])
        if crowded:
            names = dict.fromkeys(data.feature_name(number) for number in crowded)
            log.warning(
                f"model.embedding.levels={len(levels.starts)} go from {LOWEST_LEVEL:g} to "
                f"{HIGHEST_LEVEL:g}, and nearly all steps of {listed(names)} are in one level: set "
                "data.scale=split; if it is set, write the logarithm of numbers that are large "
                "beside small ones, or choose others in data.inputs"
            )

    def validation_batches(self, data: Any) -> Iterator[Any]:
        """The batches to calibrate with: of at most `MOST_ROWS` rows of the validation split,
        evenly spread over it."""
        dataset = data.datasets["validation"]
        count = min(MOST_ROWS, len(dataset))
        places = torch.linspace(0, len(dataset) - 1, count, dtype=torch.float64)
        for numbers in places.round().int().split(data.batch_size):
            yield self.ready(dataset.__getitems__(numbers.tolist()))

    def calibrate(self, data: Any) -> None:
        """Called once, after a training, with the weights to test: learns from the validation split
        what predictions need besides weights, such as how far intervals have to be widened, and
        puts it into `calibration`. Here, nothing.

        Args:
            data: what it was trained on.
        """

    # Steps and epochs.

    def training_step(self, batch: SequenceBatch) -> Tensor:
        step = self._step(batch, "train")
        if self.contract.kind.unit == "examples":
            self.seen += len(batch)
        else:
            self.seen += int(batch.lengths.sum())
        return share_of_loss(step.score)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        with subnormals_as_zero():
            super().backward(loss, *args, **kwargs)

    def validation_step(self, batch: SequenceBatch) -> None:
        self._step(batch, "validation")

    def test_step(self, batch: SequenceBatch) -> dict[str, Any]:
        score = self._step(batch, "test").score
        if self.told is None:
            return {}
        outcomes = self.outcomes(batch, score)
        losses = score.of_rows(len(batch)).tolist()
        rows = [{**outcome, "loss": loss} for outcome, loss in zip(outcomes, losses, strict=True)]
        return {"rows": rows}

    def predict_step(self, batch: SequenceBatch) -> list[dict[str, Any]]:
        return self.describe(batch)

    def _step(self, batch: SequenceBatch, split: str) -> Step:
        if batch.targets is None:
            raise ValueError("this batch has no targets to learn from: use predict_step")
        self.split = split
        step = self.step(batch)
        if self.measures_more:
            update(self.own_metrics[split], step.measured)
        self.sums[split].add(step)
        return step

    @property
    def measures_more(self) -> bool:
        """Whether `model.metrics` measure the batch that `step` gets."""
        if self.split == "train" or not self.hparams["metrics"]:
            return False
        return not getattr(self._trainer, "sanity_checking", False)

    def try_metrics(self, batch: SequenceBatch) -> None:
        """Measures a batch of the validation by `model.metrics`, so that one that does not fit is
        an error before the training."""
        self.eval()
        with torch.no_grad(), warnings.catch_warnings():
            # Some metrics warn that one batch is little.
            warnings.simplefilter("ignore")
            self._step(batch, "validation")
            compute(self.own_metrics["validation"])
        self.train()
        self.sums.clear()

    def on_train_epoch_start(self) -> None:
        # Lightning doesn't call this for an epoch that is resumed in the middle.
        self.sums[LOGGED] = self.sums[LOGGED].since(self.sums["train"])
        self.sums["train"] = Sums()

    def on_validation_epoch_start(self) -> None:
        self.sums["validation"] = Sums()

    def on_test_epoch_start(self) -> None:
        self.sums["test"] = Sums()

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train", self.trainer.train_dataloader)
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("validation", self.trainer.val_dataloaders)

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test", self.trainer.test_dataloaders)

    def measured(self, sums: Sums, loader: Any = None) -> dict[str, Tensor]:
        """The loss and the scores of some steps over this loader, of all processes."""
        totals = sums.of_all(self.device)
        loss = (totals["loss"] / totals["weight"]).float()
        of_loss = self.metrics_of_loss(loss, getattr(loader, "dataset", None))
        return {**self.scores(totals), "loss": loss, **of_loss}

    def _log_epoch(self, split: str, loader: Any) -> None:
        if self.trainer.sanity_checking or not self.sums[split].totals:
            return
        measured = self.measured(self.sums[split], loader)
        measured |= compute(self.own_metrics[split]) if split != "train" else {}
        loss = measured["loss"]
        if split == "validation" and not bool(loss.isfinite()):  # before its weights are saved
            if not self.sums[split].of_all(self.device)["weight"]:
                raise UserError(
                    "no target of the validation split counts: each is missing, or of a class that "
                    "training never saw or that weighs 0"
                )
            raise UserError(
                f"validation/loss is {float(loss)} after {self.trainer.global_step} steps, so the "
                "training has diverged: lower model.optimizer.lr, or set trainer.gradient_clip_val"
            )
        for name, value in measured.items():
            on_bar = split == "validation" and name == self.bar
            self.log(f"{split}/{name}", value.float(), prog_bar=on_bar)
        if split == "validation" and self.trainer.state.fn == "fit":
            step_plateaus(self.trainer, loss)

    # Optimisation.

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return self.build_optimizers(self.trainer, self.trainer.datamodule)  # type: ignore[attr-defined]

    def build_optimizers(
        self, trainer: pl.Trainer, data: pl.LightningDataModule | None
    ) -> OptimizerLRScheduler:
        """Optimiser and scheduler for such a training."""
        return build_optimizer(
            self.parameters(),
            self.hparams["optimizer"],
            self.hparams["scheduler"],
            trainer,
            data,
            self.allowed_targets,
        )

    configure_gradient_clipping = clip_gradients

    # Checkpoints and resume.

    def process_state(self) -> dict[str, Any]:
        """What this process alone has and needs to resume, on the CPU, besides random numbers."""
        totals = {name: self.sums[name].on("cpu").totals for name in ("train", LOGGED)}
        return {"sums": totals}

    def restore_process_state(self, state: dict[str, Any]) -> None:
        """Takes what `process_state` gave."""
        for name, totals in state["sums"].items():
            self.sums[name] = Sums(totals).on(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["resume"] = saved_state(self.device, self.process_state())
        checkpoint["fingerprint"] = self.fingerprint

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Without a trainer that resumes, `load_from_checkpoint` reads weights alone.
        if getattr(self._trainer, "ckpt_path", None):
            self._resumed = checkpoint.get("resume", [])

    def on_train_start(self) -> None:
        if self._resumed is not None:
            self.restore_process_state(restored_state(self._resumed, self.device, self.trainer))
            self._resumed = None
        if self.changed:
            replan(self.trainer, self.configure_optimizers(), self.changed)
