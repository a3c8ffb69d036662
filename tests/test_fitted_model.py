"""Codes, pyramids and codebooks.

Oracles: scikit-learn's k-means, mixtures and kernels, scikit-image's Fisher vectors, and loops over
places.
"""

import pytest
import torch
import torch.nn.functional as F
from skimage.feature import fisher_vector
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from bench.train.codebook import find_centres, learn_codebook
from zoo import create_model, resolve
from zoo.encoding import (
    FisherVectors,
    HardCodes,
    LocalityCodes,
    SpatialPyramid,
    TriangleCodes,
    pool_max,
)
from zoo.kernel_map import KernelMap


def test_codes_are_those_of_a_loop_over_places() -> None:
    torch.manual_seed(0)
    maps, centres = torch.randn(2, 5, 3, 4), torch.randn(7, 5)
    hard, triangle = HardCodes(7, 5), TriangleCodes(7, 5)
    hard.centres.copy_(centres)
    triangle.centres.copy_(centres)
    distances = torch.cdist(maps.movedim(1, 3).double(), centres.double())
    expected = (distances.mean(3, keepdim=True) - distances).clamp(min=0)
    torch.testing.assert_close(triangle(maps).movedim(1, 3).double(), expected, rtol=0, atol=1e-5)
    nearest = torch.nn.functional.one_hot(distances.argmin(3), 7)
    assert torch.equal(hard(maps).movedim(1, 3).long(), nearest)


@pytest.mark.parametrize("name", ["hog_svm@mirror=true", "kmeans_patches@codes=20"])
def test_features_are_means_over_an_image_and_its_mirror_image(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=3).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    images = 255 * torch.rand(3, 3, 32, 32)
    found = model.embed(images)
    torch.testing.assert_close(model.embed(images.flip(3)), found)
    model.mirror = False
    expected = torch.stack([model.embed(images), model.embed(images.flip(3))]).mean(0)
    assert not torch.allclose(model.embed(images), found)
    torch.testing.assert_close(found, expected)


def test_fisher_vectors_are_scikit_images() -> None:
    """Those by means and deviations, which pooling averages; its sign of the latter is ours turned.

    Its weights' part is left out, as Perronnin et al. do.
    """
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(500, 4, generator=generator) * torch.tensor([1.0, 2.0, 0.5, 3.0])
    encoder = FisherVectors(3, 4)
    learn_codebook(encoder, samples, generator, lambda: None)
    mixture = GaussianMixture(3, covariance_type="diag")
    mixture.weights_ = encoder.weights.double().numpy()
    mixture.means_ = encoder.means.double().numpy()
    mixture.covariances_ = encoder.deviations.double().numpy() ** 2
    mixture.precisions_cholesky_ = 1 / encoder.deviations.double().numpy()
    maps = torch.randn(2, 4, 3, 5, generator=generator)
    found = encoder(maps).mean((2, 3))
    for image, ours in zip(maps, found, strict=True):
        expected = fisher_vector(image.flatten(1).T.double().numpy(), mixture)[3:]
        expected[12:] *= -1
        assert ours.numpy() == pytest.approx(expected, abs=1e-4)


def test_locality_codes_are_the_nearest_sum_of_five_centres() -> None:
    """Lagrange's conditions of the damped sum: its slope is the same for all weights in it."""
    torch.manual_seed(0)
    maps, centres = torch.randn(2, 6, 2, 3), torch.randn(20, 6)
    encoder = LocalityCodes(20, 6)
    encoder.centres.copy_(centres)
    codes = encoder(maps).movedim(1, 3).flatten(0, 2).double()
    descriptors = maps.movedim(1, 3).flatten(0, 2).double()
    assert codes.sum(1).numpy() == pytest.approx(1, abs=1e-5)
    for code, descriptor in zip(codes, descriptors, strict=True):
        distances = (centres.double() - descriptor).square().sum(1)
        used = code.nonzero().flatten()
        assert set(used.tolist()) == set(distances.topk(5, largest=False).indices.tolist())
        slope = centres[used].double() @ (code @ centres.double() - descriptor)
        slope += 1e-4 * distances[used].sum() * code[used]
        assert slope.numpy() == pytest.approx(float(slope.mean()), abs=1e-4)


@pytest.mark.parametrize("gamma", [1.0, 0.2])
def test_a_kernel_of_landmarks_is_scikit_learns(gamma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 7, generator=generator) * torch.arange(7) + 3
    assert features[:, 0].std() == 0, "one is alike in all landmarks, and differs elsewhere"
    kernel = KernelMap(7, 40, gamma=gamma)
    kernel.see_features(features)
    mapped = kernel(features).double()
    scaler = StandardScaler().fit(features.double().numpy())
    scaled = scaler.transform(features.double().numpy())
    expected = rbf_kernel(scaled, gamma=gamma / 7)
    assert (mapped @ mapped.T).numpy() == pytest.approx(expected, abs=1e-3)
    other = torch.randn(5, 7, generator=generator) * torch.arange(1, 8) + 3
    apart = kernel(other).double() @ mapped.T
    expected = rbf_kernel(scaler.transform(other.double().numpy()), scaled, gamma=gamma / 7)
    assert apart.numpy() == pytest.approx(expected, abs=1e-3)


def test_a_single_landmark_is_an_image_like_any_other() -> None:
    kernel = KernelMap(3, 1)
    kernel.see_features(torch.ones(1, 3))
    assert kernel(torch.ones(2, 3)).flatten().tolist() == pytest.approx([1, 1])


def test_features_are_kept_beside_their_kernel() -> None:
    """A linear machine on both has the sum of both kernels."""
    features = torch.randn(40, 7, generator=torch.Generator().manual_seed(0))
    kernel = KernelMap(7, 40, keep=True)
    kernel.see_features(features)
    both = kernel(features).double()
    assert both.shape == (40, kernel.num_outputs)
    plain = features.double().numpy()
    scaled = StandardScaler().fit_transform(plain)
    expected = plain @ plain.T + rbf_kernel(scaled, gamma=1 / 7)
    assert (both @ both.T).numpy() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("size", [(12, 12), (13, 9), (4, 5)])
@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_cells_maxima_are_torchs(size: tuple[int, int], side: int) -> None:
    maps = torch.randn(3, 5, *size)
    assert torch.equal(pool_max(maps, side), F.adaptive_max_pool2d(maps, side))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_pyramid_pools_every_cell_of_every_level(pooling: str) -> None:
    maps = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = SpatialPyramid((1, 2, 4), pooling)(maps).view(2, -1)  # type: ignore[arg-type]
    join = torch.amax if pooling == "max" else torch.mean
    expected = []
    for side in (1, 2, 4):
        cells = maps.unfold(2, 8 // side, 8 // side).unfold(3, 8 // side, 8 // side)
        expected.append(join(cells, dim=(4, 5)).flatten(1))
    torch.testing.assert_close(found, torch.cat(expected, dim=1))


def test_centres_are_where_the_descriptors_lie() -> None:
    """Three heaps far apart: Lloyd's centres are scikit-learn's, whatever the start."""
    generator = torch.Generator().manual_seed(3)
    heaps = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    samples = (heaps[:, None] + torch.randn(3, 200, 2, generator=generator)).flatten(0, 1)
    best = min(
        (find_centres(samples, 3, torch.Generator().manual_seed(seed)) for seed in range(8)),
        key=lambda found: found[1],
    )
    reference = KMeans(3, n_init=8, random_state=0).fit(samples.double().numpy())
    assert best[1] == pytest.approx(reference.inertia_ / len(samples), rel=1e-4)
    ours, theirs = best[0].numpy(), reference.cluster_centers_
    assert ours[ours[:, 0].argsort()] == pytest.approx(theirs[theirs[:, 0].argsort()], abs=1e-4)


def test_a_code_that_nothing_is_near_gets_another_start() -> None:
    """Of two heaps and a far sample, three centres are used, however they were drawn."""
    samples = torch.tensor([[0.0], [0.0], [0.0], [10.0], [10.0], [1000.0]])
    for seed in range(10):
        centres, _ = find_centres(samples, 3, torch.Generator().manual_seed(seed))
        assert sorted(centres.flatten().tolist()) == [0.0, 10.0, 1000.0]


def test_fewer_descriptors_than_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="9 codes can't be learnt from 5 descriptors"):
        learn_codebook(HardCodes(9, 2), torch.zeros(5, 2), torch.Generator(), lambda: None)


@pytest.mark.parametrize(
    "name",
    [
        "hog_svm",
        "hog_svm@encoding=none",
        "hog_svm@encoding=vq,levels=2,pooling=max",
        "hog_svm@encoding=llc,codes=9",
        "hog_svm@encoding=fisher,gaussians=2,levels=1",
        "hog_svm@classifier=rbf,landmarks=30",
        "hog_forest",
        "lbp_svm",
        "lbp_svm@encoding=none",
        "sift_svm",
        "sift_svm@encoding=none",
        "kmeans_patches@codes=20,in_channels=1",
        "kmeans_patches@codes=20,landmarks=9,in_channels=1",
    ],
)
@pytest.mark.parametrize("size", [28, 32, 48])
def test_any_size_gives_as_many_features(name: str, size: int) -> None:
    model = create_model(name, num_classes=7)
    images = 255 * torch.rand(66, 1, size, size)
    features = model.embed(images)
    assert features.shape == (66, model.classifier.in_features)
    # More than a chunk: the same as in parts.
    torch.testing.assert_close(model.embed(images[:1]), features[:1])


def test_fisher_vectors_have_no_maximum() -> None:
    with pytest.raises(ValueError, match="pooling=max: Fisher vectors are means"):
        create_model("hog_svm@encoding=fisher,pooling=max")


@pytest.mark.parametrize(
    ("switches", "reader"),
    [
        ("trees=3", "classifier=forest"),
        ("landmarks=5", "classifier=rbf"),
        ("gaussians=4", "encoding=fisher"),
        ("encoding=fisher,codes=10", "encoding=vq, triangle, llc"),
        ("encoding=none,levels=2", "an encoding"),
        ("encoding=none,pooling=max", "an encoding"),
    ],
)
def test_a_switch_that_nothing_reads_is_refused(switches: str, reader: str) -> None:
    """Else it would be another row of the same model."""
    with pytest.raises(ValueError, match=f"goes with {reader}, and nothing else reads it"):
        create_model(f"hog_svm@{switches}")


def test_a_patch_has_two_values_at_least_and_no_more_than_the_image() -> None:
    with pytest.raises(ValueError, match="patch=1: a patch of 1 values has no contrast"):
        create_model("kmeans_patches@patch=1,in_channels=1")
    with pytest.raises(ValueError, match="kmeans_patches: patch=33: an image of 32 px has no such"):
        resolve("kmeans_patches@patch=33")


def test_one_centre_is_no_code() -> None:
    with pytest.raises(ValueError, match="hog_svm: codes=1: one centre is never nearer than"):
        create_model("hog_svm@codes=1")
    assert create_model("hog_svm@codes=1,encoding=vq").num_features == 21


def test_a_mixture_that_is_fitted_in_parts_is_scikit_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.train.codebook.ROUNDS_AT_ONCE", 4)
    samples = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    encoder = FisherVectors(3, 4)
    heeded: list[int] = []
    learn_codebook(encoder, samples, torch.Generator().manual_seed(1), lambda: heeded.append(1))
    start = int(torch.randint(2**31, (1,), generator=torch.Generator().manual_seed(1)))
    mixture = GaussianMixture(3, covariance_type="diag", random_state=start)
    mixture.fit(samples.double().numpy())
    assert len(heeded) == -(-mixture.n_iter_ // 4) > 1
    for name, expected in (("means", mixture.means_), ("weights", mixture.weights_)):
        assert encoder.state_dict()[name].numpy() == pytest.approx(expected, abs=1e-6)
