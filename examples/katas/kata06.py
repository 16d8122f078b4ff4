"""Who is speaking? With two networks: one reads forward, and one reads the utterance reversed.

`inputs` (B, T, 12) are padded at the end, `lengths` (B,) are the rows' own. Scores (B, 9) out.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.forward_rnn = nn.GRU(12, 16, batch_first=True)
        self.backward_rnn = nn.GRU(12, 16, batch_first=True)
        self.classify = nn.Linear(32, 9)

    def last(self, rnn, inputs, lengths):
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        return rnn(packed)[1][-1]

    def forward(self, inputs, lengths):
        there = self.last(self.forward_rnn, inputs, lengths)
        back = self.last(self.backward_rnn, torch.flip(inputs, [1]), lengths)
        return self.classify(torch.cat([there, back], dim=1))
