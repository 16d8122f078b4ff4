"""Your own head: the mean of the largest values of each feature, between mean and maximum.

python scripts/train.py imports=[examples.top_pool] model.head=top_pool
"""

import torch

from seqmodels import Head


class TopPool(Head, name="top_pool"):
    reads = ("output",)

    def build(self, encoder, k: int = 3):
        self.k = k

    def select(self, states):
        is_padding = ~states.mask.unsqueeze(-1)  # (B, T, 1)
        output = states.output.masked_fill(is_padding, -torch.inf)
        k = min(self.k, output.shape[1])
        largest = output.topk(k, dim=1).values  # (B, k, D*H)
        is_valid = largest.isfinite()  # A row may be shorter than k.
        return largest.masked_fill(~is_valid, 0.0).sum(dim=1) / is_valid.sum(dim=1)
