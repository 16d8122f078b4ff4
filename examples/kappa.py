"""A metric of your own: agreement beyond chance, for any classifier."""

from torchmetrics.classification import MulticlassCohenKappa

from seqmodels.tasks import SequenceClassifier
from seqmodels.tasks.metrics import METRICS, Metric

METRICS["kappa"] = Metric(higher_is_better=True)


class Classifier(SequenceClassifier):
    def metrics(self):
        return {**super().metrics(), "kappa": MulticlassCohenKappa(len(self.classes))}
