"""A cell of your own: the minimal gated unit (Zhou et al. 2016, https://arxiv.org/abs/1603.09420).

python scripts/train.py imports=[examples.minimal_gru] model.encoder.cell=mgu
"""

import torch
from torch import nn

from seqmodels import Cell


class MinimalGRU(Cell, name="mgu"):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.forget = nn.Linear(input_size + hidden_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x, h):
        f = self.forget(torch.cat([x, h], dim=1)).sigmoid()
        new = self.candidate(torch.cat([x, f * h], dim=1)).tanh()
        return (1 - f) * h + f * new
