"""A scheduler of your own: a line up, then down with the root of the step ("Noam")."""

from torch.optim.lr_scheduler import LambdaLR


class InverseRoot(LambdaLR):
    def __init__(self, optimizer, warmup: int = 100):
        def factor(step):
            rising = (step + 1) / warmup
            falling = (warmup / (step + 1)) ** 0.5
            return min(rising, falling)

        super().__init__(optimizer, factor)
