"""Is a review good or bad? Packed by hand: the longest row first, as packing once demanded.

`inputs` (B, T) are numbers below 30, padded at the end, `lengths` (B,) are the rows' own.
"""

from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 8)
        self.rnn = nn.GRU(8, 16, batch_first=True)
        self.classify = nn.Linear(16, 2)

    def forward(self, inputs, lengths):
        lengths, order = lengths.sort(descending=True)
        embedded = self.embed(inputs[order])
        packed = pack_padded_sequence(embedded, lengths, batch_first=True)
        output, h_n = self.rnn(packed)
        return self.classify(h_n[-1][order.argsort()])
