"""Who is speaking? As before, but the network reads each utterance from both sides.

`inputs` (B, T, 12) and `lengths` (B,) in, scores (B, 9) out.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(12, 16, batch_first=True, bidirectional=True)
        self.classify = nn.Linear(32, 9)

    def forward(self, inputs, lengths):
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        output, (h_n, c_n) = self.rnn(packed)
        output, _ = pad_packed_sequence(output, batch_first=True)
        return self.classify(output[torch.arange(len(output)), lengths - 1])
