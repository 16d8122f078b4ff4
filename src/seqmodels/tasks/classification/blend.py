"""Average a network's probabilities with those of logistic regression on tf-idf."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torchmetrics import MetricCollection

from seqmodels.batch import with_unseen_as
from seqmodels.data.baseline_features import n_grams, training_examples
from seqmodels.data.columns import take
from seqmodels.data.module import EVALUATED
from seqmodels.errors import UserError

log = logging.getLogger(__name__)

SHARES = np.linspace(0, 1, 21).tolist()  # to choose from
SMALLEST = 1e-9  # probability


class Blend:
    """The mean of a network's probabilities and those of tf-idf, fitted as the baseline is.

    Args:
        data: a `SequenceDataModule` of texts, after its `setup`.
        chosen: what `choose` gave; None: nothing is chosen yet.

    Raises:
        UserError: if the texts to fit tf-idf to are of one class.
    """

    def __init__(self, data: Any, chosen: Mapping[str, Any] | None = None) -> None:
        from seqmodels.tasks.classification.linear import classifiers  # slow to import

        examples, _ = training_examples(data)
        labels = data.datasets["train"].targets.numpy()[examples]
        if (classes := len({*labels.tolist()})) < 2:
            raise UserError("blend: the texts to fit tf-idf to are of one class: leave it out")
        self.data, self.chosen = data, chosen
        inputs, lowercase = data.baseline_inputs
        self.grams = n_grams(inputs, lowercase, classes)
        counts = self.grams.fit_transform(take(data.examples["train"].inputs, examples))
        models = classifiers(classes)["tf-idf"]
        tried = models if chosen is None else [models[chosen["strength"]]]
        self.models = [model.fit(counts, labels) for model in tried]

    def choose(
        self, task: Any, predict: Callable[[Any], Iterable[Any]], share: float | None
    ) -> dict[str, Any]:
        """The strength of regularisation, and the share of tf-idf unless it is given, that make the
        validation split likeliest; and accuracies and so on, in the form of `Baselines`.

        Args:
            predict: describes raw inputs by the network.
        """
        choices = [*product(SHARES if share is None else [share], range(len(self.models)))]
        size, found, chosen = len(task.classes), dict[str, dict[str, float]](), (0.0, 0)
        for split in EVALUATED:
            inputs, targets = self.data.examples[split].inputs, self.data.datasets[split].targets
            network, linear = _matrix(predict(inputs)), self._probabilities(inputs)
            if split == "validation":
                known = np.flatnonzero(targets >= 0)
                right = known, targets.numpy()[known]
                losses = [
                    -np.log(_mean(network, linear[at], share)[right].clip(SMALLEST)).mean()
                    for share, at in choices
                ]
                chosen = choices[int(np.argmin(losses))]
            blended = f"blend with {100 * chosen[0]:.0f} % tf-idf"
            for name, share in (("tf-idf of the blend", 1.0), (blended, chosen[0])):
                made = torch.from_numpy(_mean(network, linear[chosen[1]], share).argmax(axis=1))
                measured = MetricCollection(task.metrics())(made, with_unseen_as(size, targets))
                for metric, value in measured.items():
                    found.setdefault(f"{split}/{metric}", {})[name] = float(value)
        log.info(f"blend: {chosen[0]:.2f} of it is tf-idf")
        return {"share": chosen[0], "strength": chosen[1], "metrics": found}

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

    def _probabilities(self, texts: Any) -> list[np.ndarray]:
        # by each model, of all classes: some may be missing in the texts that it was fitted to
        counts = self.grams.transform(texts)
        made = [np.zeros((counts.shape[0], len(self.data.classes))) for _ in self.models]
        for each, model in zip(made, self.models, strict=True):
            each[:, model.classes_] = model.predict_proba(counts)
        return made


def _matrix(rows: Iterable[Mapping[str, Any]]) -> np.ndarray:
    return np.array([[*row["probabilities"].values()] for row in rows])


def _mean(network: np.ndarray, linear: np.ndarray, share: float) -> np.ndarray:
    return np.average([network, linear], axis=0, weights=[1 - share, share])
