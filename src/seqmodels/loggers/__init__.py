"""TensorBoard, W&B and MLflow: Lightning's loggers, kept open for a whole run."""
