"""A metric of your own: Cohen's kappa, agreement beyond chance, for any classifier."""

from collections.abc import Mapping

from torch import Tensor

from seqmodels.metrics import METRICS, Metric
from seqmodels.tasks.classification import SequenceClassifier

METRICS["kappa"] = Metric(higher_is_better=True)


class Classifier(SequenceClassifier):
    measures = (*SequenceClassifier.measures, "kappa")

    def scores(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # How many examples of each class are right, are predicted, and are there, in all batches.
        right, predicted, true = sums["classes"].double()
        count = true.sum()
        agreement = right.sum() / count
        chance = (predicted * true).sum() / count**2
        kappa = (agreement - chance) / (1 - chance)
        return {**super().scores(sums), "kappa": kappa}
