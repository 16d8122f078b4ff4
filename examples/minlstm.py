"""A cell without recurrence in its gates: minLSTM (Feng et al. 2024, https://arxiv.org/abs/2410.01201).

python scripts/train.py imports=[examples.minlstm] model.encoder.cell=minlstm

All steps are computed at once, in the logarithm of positive values (their appendix B.2.2). A
carried state enters as it is: it is made of positive values already.
"""

import torch
from torch import nn
from torch.nn import functional as F

from seqmodels import Cell


class MinLSTM(Cell, name="minlstm"):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.gates = nn.Linear(input_size, 3 * hidden_size)

    def logs(self, x):
        """The logarithms of what is kept, what is written, and the candidate, each `(..., H)`."""
        f, i, candidate = self.gates(x).chunk(3, dim=-1)
        log_ratio = F.softplus(-f) - F.softplus(-i)  # log(i / f), after their sigmoids
        log_keep = -F.softplus(log_ratio)
        log_write = -F.softplus(-log_ratio)
        log_above_zero = (candidate.relu() + 0.5).log()
        log_below_zero = -F.softplus(-candidate)
        log_candidate = torch.where(candidate >= 0, log_above_zero, log_below_zero)
        return log_keep, log_write, log_candidate

    def forward(self, x, h):
        log_keep, log_write, log_candidate = self.logs(x)
        return log_keep.exp() * h + (log_write + log_candidate).exp()

    def parallel(self, steps, h):
        log_keep, log_write, log_candidate = self.logs(steps)
        # How much of the carried state is kept up to each step, and of what is written at a step.
        log_kept = log_keep.cumsum(dim=1)
        log_written = log_write + log_candidate - log_kept
        log_sum = torch.logcumsumexp(log_written, dim=1) + log_kept
        return log_sum.exp() + log_kept.exp() * h.unsqueeze(1)
