"""Translate. A decoder with attention reads the source, and the target so far.

`inputs` (B, T) are source tokens, padded at the end, `lengths` (B,) are the rows' own, and
`target_inputs` (B, S) are target tokens. Scores (B, S, 30) of the token after each of them out.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 8)
        self.encode, self.decode = (
            nn.LSTM(8, 16, batch_first=True),
            nn.LSTM(8, 16, batch_first=True),
        )
        self.predict = nn.Linear(32, 30)

    def forward(self, inputs, lengths, target_inputs):
        embedded = self.embed(inputs)
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        packed, state = self.encode(packed)
        memory, _ = pad_packed_sequence(packed, batch_first=True, total_length=inputs.shape[1])
        decoded, _ = self.decode(self.embed(target_inputs), state)
        scores = decoded @ memory.transpose(1, 2)
        padding = torch.arange(inputs.shape[1]) >= lengths[:, None]
        weights = scores.masked_fill(padding[:, None], -torch.inf).softmax(dim=-1)
        return self.predict(torch.cat([decoded, weights @ memory], dim=-1))
