"""A random forest (Breiman 2001) as a module: arrays of nodes that features fall through."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.encoding import reserve

DEPTH = 32  # levels of a tree at most: each is a gather over all trees at once
# Least share of a class: a forest that never saw it in a leaf isn't as sure as 0 would say.
LEAST_SHARE = 1e-3


class Forest(nn.Module):
    """Trees of at most `num_leaves` leaves each: (N, F) features to (N, num_classes) scores.

    Nodes of all trees are numbered through, the first ones their roots. A node sends what is at
    most its threshold to `left`, and all else to the node behind that; a leaf sends everything to
    itself. A score is the logarithm of the class's mean share over the trees' leaves.
    """

    def __init__(
        self, num_features: int, num_classes: int, *, num_trees: int, num_leaves: int
    ) -> None:
        super().__init__()
        if num_leaves < 2:
            raise ValueError(f"leaves is at least 2, not {num_leaves}: a tree splits something")
        self.in_features, self.num_trees, self.num_leaves = num_features, num_trees, num_leaves
        num_nodes = num_trees * (2 * num_leaves - 1)
        self.feature = reserve(num_nodes, dtype=torch.int32)
        self.threshold = reserve(num_nodes)
        self.left = reserve(num_nodes, dtype=torch.int32)
        self.leaf = reserve(num_nodes, dtype=torch.int32)  # the row of `shares` of a leaf
        self.shares = reserve(num_trees * num_leaves, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, F) features to (N, num_classes) scores."""
        roots = torch.arange(self.num_trees, device=features.device)
        node = roots.expand(features.shape[0], -1)
        for _ in range(DEPTH):
            value = features.gather(1, self.feature[node].long())
            node = self.left[node].long() + (value > self.threshold[node])
        shares = F.embedding_bag(self.leaf[node].long(), self.shares, mode="mean")
        return shares.clamp(min=LEAST_SHARE).log()
