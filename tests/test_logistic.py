"""The linear classifier on frozen features.

Oracle: scikit-learn's logistic regression.
"""

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from bench.train.logistic import choose_classifier
from bench.train.solver import STRENGTHS

NUM_CLASSES = 4


def make_set(num_images: int, *, seed: int, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw features (N, size) of classes that overlap, on scales far from 1, and labels."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(NUM_CLASSES, size, generator=torch.Generator().manual_seed(9))
    labels = torch.randint(NUM_CLASSES, (num_images,), generator=draw)
    spread = torch.logspace(-1, 0.5, size)
    noise = 1.5 * torch.randn(num_images, size, generator=draw)
    return 30 + 5 * spread * (centres[labels] + noise), labels


@pytest.mark.parametrize(("num_images", "size"), [(300, 12), (40, 100)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_solves_as_scikit_learn(num_images: int, size: int, with_bias: bool) -> None:
    train = make_set(num_images, seed=0, size=size)
    validation = make_set(300, seed=1, size=size)
    chosen = choose_classifier(train, validation, num_classes=NUM_CLASSES, with_bias=with_bias)
    features = train[0].double()
    mean = features.mean(0) if with_bias else torch.zeros(size)
    scale = (features - mean).square().mean().sqrt()
    reference = LogisticRegression(
        C=1 / (num_images * chosen.strength), fit_intercept=with_bias, tol=1e-10, max_iter=10_000
    ).fit(((features - mean) / scale).numpy(), train[1].numpy())
    seen = validation[0].double()
    expected = reference.predict_proba(((seen - mean) / scale).numpy())
    scores = seen @ chosen.classifier.weight.T + chosen.classifier.bias
    torch.testing.assert_close(scores.softmax(dim=1), torch.from_numpy(expected), rtol=0, atol=1e-4)
    found_loss = float(F.cross_entropy(scores, validation[1]))
    assert chosen.losses[chosen.strength] == pytest.approx(found_loss, abs=1e-9)


def test_chooses_the_strength_of_the_lowest_validation_loss() -> None:
    train, validation = make_set(120, seed=0), make_set(400, seed=1)
    chosen = choose_classifier(train, validation, num_classes=NUM_CLASSES)
    assert 1 < len(chosen.losses) < len(STRENGTHS), "it stops where weaker strengths get worse"
    mean = train[0].mean(0)
    scale = (train[0] - mean).square().mean().sqrt()
    expected = {}
    for strength in chosen.losses:
        reference = LogisticRegression(C=1 / (120 * strength), tol=1e-8, max_iter=10_000)
        reference.fit(((train[0] - mean) / scale).numpy(), train[1].numpy())
        said = reference.predict_log_proba(((validation[0] - mean) / scale).numpy())
        expected[strength] = float(F.nll_loss(torch.from_numpy(said), validation[1]))
    assert chosen.strength == min(expected, key=lambda strength: expected[strength])
    assert chosen.losses == pytest.approx(expected, abs=2e-3)


def test_takes_features_that_are_all_alike() -> None:
    features, labels = torch.ones(8, 3), torch.arange(8) % 2
    chosen = choose_classifier((features, labels), (features, labels), num_classes=2)
    assert chosen.classifier.weight.isfinite().all()
    assert chosen.train_loss == pytest.approx(0.6931, abs=1e-4)
