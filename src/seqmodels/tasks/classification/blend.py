"""Average a network's probabilities with those of the best simple model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np
import torch
from torchmetrics import MetricCollection

from seqmodels.batch import with_unseen_as
from seqmodels.data.baseline_features import SHORTEST, longest_series, n_grams, training_examples
from seqmodels.data.columns import take
from seqmodels.data.module import EVALUATED
from seqmodels.errors import UserError
from seqmodels.tasks.classification.baselines import padded

log = logging.getLogger(__name__)

SHARES = np.linspace(0, 1, 21).tolist()  # to choose from
SMALLEST = 1e-9  # probability
BLOCK = 100  # examples to make features of at once


class Blend:
    """The mean of a network's probabilities and those of a simple model, a linear classifier that
    is fitted as the baselines are: of texts on tf-idf or naive-Bayes features, of series on
    MiniRocket's.

    Args:
        data: a `SequenceDataModule`, after its `setup`.
        chosen: what `choose` gave; None: nothing is chosen yet.

    Raises:
        UserError: if the examples to fit to are of one class, or MiniRocket cannot be fitted.
    """

    def __init__(self, data: Any, chosen: Mapping[str, Any] | None = None) -> None:
        examples, _ = training_examples(data)
        labels = data.datasets["train"].targets.numpy()[examples]
        if (classes := len({*labels.tolist()})) < 2:
            raise UserError("blend: the examples to fit to are of one class: leave it out")
        self.data, self.chosen = data, chosen
        self.read, self.features, models = _simple_models(data, classes)
        made = self.features.fit_transform(self.read(take(data.examples["train"].inputs, examples)))
        tried = models if chosen is None else [models[chosen["strength"]]]
        self.models = [(name, model.fit(made, labels)) for name, model in tried]

    def choose(
        self, task: Any, predict: Callable[[Any], Iterable[Any]], share: float | None
    ) -> dict[str, Any]:
        """The simple model, with its strength of regularisation, and its share, unless it is given,
        that make the validation split likeliest; and accuracies and so on, in the form of
        `Baselines`.

        Args:
            predict: describes raw inputs by the network.
        """
        choices = [*product(SHARES if share is None else [share], range(len(self.models)))]
        size, found, (share, at) = len(task.classes), dict[str, dict[str, float]](), choices[0]
        for split in EVALUATED:
            inputs, targets = self.data.examples[split].inputs, self.data.datasets[split].targets
            network, simple = _matrix(predict(inputs)), self._probabilities(inputs)
            if split == "validation":
                # few examples say little of the share: beside them are three made-up ones, of which
                # the simple model alone predicts two, and the network one
                known = np.flatnonzero(targets >= 0)
                right = known, targets.numpy()[known]
                losses = [
                    -np.log(_mean(network, simple[at], share)[right].clip(SMALLEST)).sum()
                    - np.log(max(share**2 * (1 - share), SMALLEST))
                    for share, at in choices
                ]
                share, at = choices[int(np.argmin(losses))]
                name = self.models[at][0]
            blended = f"blend with {100 * share:.0f} % {name}"
            for row, part in ((f"{name} of the blend", 1.0), (blended, share)):
                made = torch.from_numpy(_mean(network, simple[at], part).argmax(axis=1))
                measured = MetricCollection(task.metrics())(made, with_unseen_as(size, targets))
                for metric, value in measured.items():
                    found.setdefault(f"{split}/{metric}", {})[row] = float(value)
        log.info(f"blend: {share:.2f} of it is {name}")
        return {"share": share, "strength": at, "metrics": found}

    def rows(self, raw: Any, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The network's predictions of these raw inputs, with the chosen mean as probabilities."""
        assert self.chosen is not None
        [linear] = self._probabilities(raw)
        means, classes = _mean(_matrix(rows), linear, self.chosen["share"]), self.data.classes
        return [
            {
                "label": classes[mean.argmax()],
                "probabilities": dict(zip(classes, mean.tolist(), strict=True)),
            }
            for mean in means
        ]

    def _probabilities(self, raw: Any) -> list[np.ndarray]:
        # by each model, of all classes: some may be missing in the examples that it was fitted to
        made = [np.zeros((len(raw), len(self.data.classes))) for _ in self.models]
        for rows in np.split(np.arange(len(raw)), range(BLOCK, len(raw), BLOCK)):
            features = self.features.transform(self.read(take(raw, rows)))
            for each, (_, model) in zip(made, self.models, strict=True):
                each[np.ix_(rows, model.classes_)] = model.predict_proba(features)
        return made


def _simple_models(data: Any, classes: int) -> tuple[Any, Any, list[tuple[str, Any]]]:
    """What reads raw inputs, what makes features of that, and classifiers of these with names."""
    from seqmodels.tasks.classification import linear  # slow to import

    if data.inputs.kind == "tokens":
        inputs, lowercase = data.baseline_inputs
        kinds = linear.classifiers(classes)  # tf-idf first, which older runs number alone
        models = [(name, model) for name, models in kinds.items() for model in models]
        return list, n_grams(inputs, lowercase, classes), models
    longest, _ = longest_series(data)
    if longest < SHORTEST:
        raise UserError(
            f"blend: MiniRocket needs {SHORTEST} steps, the longest has {longest}: leave it out"
        )
    if not find_spec("numba"):
        raise UserError("blend: MiniRocket needs numba: pip install numba, or leave it out")
    convolve, classify = linear.minirocket()
    return partial(padded, longest=longest), convolve, [("MiniRocket", classify)]


def _matrix(rows: Iterable[Mapping[str, Any]]) -> np.ndarray:
    return np.array([[*row["probabilities"].values()] for row in rows])


def _mean(network: np.ndarray, simple: np.ndarray, share: float) -> np.ndarray:
    return np.average([network, simple], axis=0, weights=[1 - share, share])
