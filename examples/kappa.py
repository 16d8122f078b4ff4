"""A metric of your own: agreement beyond chance, for any classifier."""

from torchmetrics.classification import MulticlassCohenKappa

from seqmodels.engine.metrics import METRICS, Metric
from seqmodels.tasks.classification import SequenceClassifier

METRICS["kappa"] = Metric(higher_is_better=True)


class Classifier(SequenceClassifier):
    def metrics(self):
        return {**super().metrics(), "kappa": MulticlassCohenKappa(len(self.classes))}
