"""How much power in the next 4 hours? Measured values in, 4 forecasts out.

`inputs` (B, T, 12) are padded at the end, `lengths` (B,) are the rows' own. `forward` returns
(B, 4): the value 1, 2, 3 and 4 hours after each row's newest step.
"""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(12, 16, batch_first=True)
        self.forecast = nn.Linear(16, 4)

    def forward(self, inputs, lengths):
        output, _ = self.rnn(inputs)
        return self.forecast(output[torch.arange(len(inputs)), lengths - 1])
