"""Random forests as arrays. Oracle: scikit-learn's own answers, image by image."""

import numpy as np
import pytest
import torch

from bench.train.forest_solver import Trees, write_trees
from bench.train.solver import Features
from zoo.forest import LEAST_SHARE, Forest

NUM_FEATURES, NUM_CLASSES = 12, 5


def draw_features(num: int, seed: int) -> Features:
    """Features of few different values, so that many lie on a threshold."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(NUM_CLASSES, (num,), generator=generator)
    rows = torch.randint(8, (num, NUM_FEATURES), generator=generator) / 7
    rows[:, 0] += labels
    return Features(rows, labels)


@pytest.mark.parametrize("num_leaves", [2, 9, 500])
def test_scores_are_the_shares_of_scikit_learns_forest(num_leaves: int) -> None:
    from sklearn.ensemble import RandomForestClassifier

    train, test = draw_features(400, 0), draw_features(300, 1)
    forest = Forest(NUM_FEATURES, NUM_CLASSES, num_trees=7, num_leaves=num_leaves)
    grown = RandomForestClassifier(7, max_leaf_nodes=num_leaves, random_state=0)
    grown.fit(train.rows.numpy(), train.labels.numpy())
    write_trees(forest, [tree.tree_ for tree in grown.estimators_], grown.classes_)
    expected = np.maximum(grown.predict_proba(test.rows.numpy()), LEAST_SHARE)
    assert forest(test.rows).exp().numpy() == pytest.approx(expected, abs=1e-6)


def test_a_class_without_images_has_the_least_share() -> None:
    train = draw_features(200, 0)
    seen = train.labels != 3
    forest = Forest(NUM_FEATURES, NUM_CLASSES, num_trees=4, num_leaves=16)
    solver = Trees(forest, int(seen.sum()), seed=2)
    solver.take(Features(train.rows[seen], train.labels[seen]))
    found = solver.solve(train, lambda: None)
    scores = forest(train.rows)
    assert (scores[:, 3].exp() - LEAST_SHARE).abs().max() < 1e-9
    right = 100 * (scores.argmax(1) == train.labels).double().mean()
    assert found["validation_top1"] == pytest.approx(float(right))


def test_trees_that_are_grown_in_parts_are_those_of_a_forest_grown_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sklearn.ensemble import RandomForestClassifier

    monkeypatch.setattr("bench.train.forest_solver.AT_ONCE", 3)
    train, test = draw_features(400, 0), draw_features(300, 1)
    forest = Forest(NUM_FEATURES, NUM_CLASSES, num_trees=7, num_leaves=16)
    solver = Trees(forest, len(train.rows), seed=5)
    solver.take(train)
    heeded: list[int] = []
    solver.solve(train, lambda: heeded.append(1))
    assert len(heeded) == 3  # before 3, 6 and 7 trees
    grown = RandomForestClassifier(7, max_leaf_nodes=16, random_state=5)
    grown.fit(train.rows.numpy(), train.labels.numpy())
    expected = np.maximum(grown.predict_proba(test.rows.numpy()), LEAST_SHARE)
    assert forest(test.rows).exp().numpy() == pytest.approx(expected, abs=1e-6)


def test_a_threshold_between_two_floats_sends_both_where_scikit_learn_does() -> None:
    """A float32 just above a threshold in double precision must not fall to its left."""
    from sklearn.tree import DecisionTreeClassifier

    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    tree = DecisionTreeClassifier().fit([[low], [high]], [0, 1])
    forest = Forest(1, 2, num_trees=1, num_leaves=2)
    write_trees(forest, [tree.tree_], tree.classes_)
    found = forest(torch.tensor([[low], [high]])).argmax(1)
    assert found.tolist() == tree.predict([[low], [high]]).tolist()


def test_a_tree_has_two_leaves_at_least() -> None:
    with pytest.raises(ValueError, match="leaves is at least 2, not 1"):
        Forest(3, 2, num_trees=1, num_leaves=1)
