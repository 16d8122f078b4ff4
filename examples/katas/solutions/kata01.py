"""Who is speaking? Features of an utterance in, scores of 9 speakers out.

`inputs` (B, T, 12) are padded at the end to the longest row, `lengths` (B,) are the rows' own.
"""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(12, 16, batch_first=True)
        self.classify = nn.Linear(16, 9)

    def forward(self, inputs, lengths):
        output, (h_n, c_n) = self.rnn(inputs)
        return self.classify(output[torch.arange(len(output)), lengths - 1])
