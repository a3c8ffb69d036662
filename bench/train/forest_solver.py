"""Random forests grown by scikit-learn, written into `zoo.forest.Forest`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue

from bench.train.solver import Features, KeptFeatures, count_right
from zoo.extra import need
from zoo.forest import DEPTH, Forest

BYTES_A_NODE = 64  # of scikit-learn's, beside 8 for each class
AT_ONCE = 10  # trees that are grown without heeding a signal


class Trees(KeptFeatures):
    """Grows a forest's trees on all features, each from its own draw of the images."""

    def __init__(self, forest: Forest, num_images: int, seed: int) -> None:
        super().__init__(forest.in_features, num_images, forest.shares.device)
        self.forest = forest
        self.seed = seed

    @staticmethod
    def count_bytes(forest: Forest, num_images: int) -> int:
        """Return about how much memory it takes: the features, and scikit-learn's trees."""
        num_nodes, num_classes = len(forest.feature), forest.shares.shape[1]
        return 4 * num_images * forest.in_features + num_nodes * (8 * num_classes + BYTES_A_NODE)

    def solve(self, validation: Features, check: Callable[[], None]) -> dict[str, JsonValue]:
        """Grow the trees and write them into the forest; return what was found."""
        rows, labels = self.rows.cpu().numpy(), self.labels.cpu().numpy()
        grown = need("sklearn.ensemble", "classic").RandomForestClassifier(
            max_leaf_nodes=self.forest.num_leaves,
            max_depth=DEPTH,
            n_jobs=torch.get_num_threads(),
            random_state=self.seed,
            warm_start=True,
        )
        # In parts, whose trees are those of a forest grown at once.
        for num_trees in (*range(AT_ONCE, self.forest.num_trees, AT_ONCE), self.forest.num_trees):
            check()
            grown.set_params(n_estimators=num_trees).fit(rows, labels)
        trees = [one.tree_ for one in grown.estimators_]
        write_trees(self.forest, trees, grown.classes_)
        return {
            "validation_top1": count_right(self.forest(validation.rows), validation.labels),
            "deepest": max(int(tree.max_depth) for tree in trees),
            "leaves": sum(int(tree.n_leaves) for tree in trees),
        }


def write_trees(forest: Forest, trees: Sequence[Any], classes: NDArray[np.int64]) -> None:
    """Put scikit-learn's trees (`tree_`), grown for these classes, into a forest."""
    nodes = {name: tensor.detach().cpu().numpy() for name, tensor in forest.named_parameters()}
    first = len(trees)  # behind the roots
    for number, tree in enumerate(trees):
        is_leaf = tree.children_left < 0
        inner = np.flatnonzero(~is_leaf)
        # Siblings stand side by side, in the order of their parents.
        left = first + 2 * np.arange(len(inner))
        place = np.empty(tree.node_count, np.int64)
        place[0] = number
        place[tree.children_left[inner]] = left
        place[tree.children_right[inner]] = left + 1
        first += 2 * (forest.num_leaves - 1)

        nodes["feature"][place[inner]] = tree.feature[inner]
        nodes["threshold"][place[inner]] = _round_down(tree.threshold[inner])
        nodes["left"][place[inner]] = left
        leaves = place[is_leaf]
        rows = number * forest.num_leaves + np.arange(len(leaves))
        nodes["feature"][leaves] = 0
        # No value is above it, and weights that are infinite count as damaged.
        nodes["threshold"][leaves] = np.finfo(np.float32).max
        nodes["left"][leaves] = leaves
        nodes["leaf"][leaves] = rows
        counts = tree.value[is_leaf, 0]
        nodes["shares"][rows[:, None], classes] = counts / counts.sum(axis=1, keepdims=True)
    state = {name: torch.from_numpy(values) for name, values in nodes.items()}
    forest.load_state_dict(state)


def _round_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 that isn't above: what is at most one is at most the other."""
    near = thresholds.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near > thresholds, below, near).astype(np.float32)
