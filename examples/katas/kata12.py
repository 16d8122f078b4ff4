"""Is a machine about to fail? A stream of sensors in, a score of each step out.

The network reads each step beside its difference to the step before. `chunk` (B, t, 12) are the
next steps of B machines. `forward` returns scores (B, t, 2), and `reset` begins new machines.
"""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(24, 16, batch_first=True)
        self.classify = nn.Linear(16, 2)
        self.before = None
        self.reset()

    def reset(self):
        self.state = None

    def forward(self, chunk):
        before = torch.zeros_like(chunk[:, :1]) if self.before is None else self.before
        change = torch.cat([before, chunk], dim=1).diff(dim=1)
        self.before = chunk[:, -1:]
        output, (h, c) = self.rnn(torch.cat([chunk, change], dim=2), self.state)
        self.state = (h.detach(), c.detach())
        return self.classify(output)
