"""What is known of a metric by its name."""


def is_share(metric: str) -> bool:
    """Accuracies and F1: shown in per cent, and the higher, the better."""
    return metric.endswith(("accuracy", "f1"))
