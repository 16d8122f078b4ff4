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
        change = F.softplus(-f) - F.softplus(-i)  # log(i / f) of two sigmoids
        positive = torch.where(
            candidate >= 0, (candidate.relu() + 0.5).log(), -F.softplus(-candidate)
        )
        return -F.softplus(change), -F.softplus(-change), positive

    def forward(self, x, h):
        keep, write, candidate = self.logs(x)
        return keep.exp() * h + (write + candidate).exp()

    def parallel(self, steps, h):
        keep, write, candidate = self.logs(steps)
        before = keep.cumsum(dim=1)
        written = torch.logcumsumexp(write + candidate - before, dim=1) + before
        return written.exp() + before.exp() * h.unsqueeze(1)
