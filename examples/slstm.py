"""A cell of four states: the sLSTM of xLSTM (Beck et al. 2024, https://arxiv.org/abs/2405.04517).

python scripts/train.py imports=[examples.slstm] model.encoder.cell=slstm

An exponential input gate, a normaliser `n`, and a stabiliser `m`, which cancels in `c / n` and
keeps the exponentials small (their equations 8 to 17, with a sigmoid as the forget gate).
"""

import torch
from torch import nn
from torch.nn import functional as F

from seqmodels import Cell


class SLSTM(Cell, name="slstm"):
    states = ("h", "c", "n", "m")

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size)

    def forward(self, x, state):
        h, c, n, m = state
        i, f, z, o = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        log_forget = F.logsigmoid(f) + m
        # At the start there is nothing to keep.
        log_forget = log_forget.masked_fill(n == 0, -torch.inf)
        m = torch.maximum(log_forget, i)
        forget = (log_forget - m).exp()
        write = (i - m).exp()
        c = forget * c + write * z.tanh()
        n = forget * n + write
        return o.sigmoid() * c / n, c, n, m
