"""What is the topic of a text? Tokens in, scores of 5 topics out, from the average of all steps.

`inputs` (B, T) are numbers below 30, padded at the end, `lengths` (B,) are the rows' own.
"""

from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 8)
        self.rnn = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
        self.classify = nn.Linear(32, 5)

    def forward(self, inputs, lengths):
        embedded = self.embed(inputs)
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        output, (h_n, c_n) = self.rnn(packed)
        output, _ = pad_packed_sequence(output, batch_first=True)
        return self.classify(output.sum(dim=1) / lengths[:, None])
