"""A scheduler of your own: a line up, then down with the root of the step ("Noam")."""

from torch.optim.lr_scheduler import LambdaLR


class InverseRoot(LambdaLR):
    def __init__(self, optimizer, warmup: int = 100):
        super().__init__(optimizer, lambda n: min((n + 1) / warmup, (warmup / (n + 1)) ** 0.5))
