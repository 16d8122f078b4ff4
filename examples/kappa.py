"""A metric of your own: Cohen's kappa, agreement beyond chance, for any classifier."""

from collections.abc import Mapping

from torch import Tensor

from seqmodels.metrics import METRICS, Metric
from seqmodels.tasks.classification import SequenceClassifier

METRICS["kappa"] = Metric(higher_is_better=True)


class Classifier(SequenceClassifier):
    measures = (*SequenceClassifier.measures, "kappa")

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        right, found, there = sums["classes"].double()  # of each class, of all batches together
        count = there.sum()
        chance = (found * there).sum() / count**2
        kappa = (right.sum() / count - chance) / (1 - chance)
        return {**super().scores(sums), "kappa": kappa}
