"""A run's weights asked about pictures.

Oracles: what the run's own evaluation said of its test images, and the decoder of image files.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data.picture import decode_picture, decode_square, fit_square
from bench.deploy.cell_choice import find_cell
from bench.deploy.predictor import open_predictor
from bench.results.record import CellKey
from bench.results.storage import cell_folder
from tests.support.trained_run import open_context, write_cell


@pytest.mark.parametrize("model", ["lenet5", "lenet5_1998"])
def test_a_predictor_says_of_the_test_images_what_the_run_said(
    model: str, tmp_path: Path, tiny_data: Any, runtime: Any
) -> None:
    context = open_context(tmp_path / "run", tiny_data, runtime)
    record = write_cell(context, model)
    folder = cell_folder(context.folder, CellKey(model, 0))
    with np.load(folder / "scores.npz") as kept:
        expected = np.exp(kept["log_probabilities"].astype(np.float64))
    predictor = open_predictor(run=context.folder, model=model)
    pictures = list(tiny_data.test.images[:, 4:36, 4:36])
    said = predictor.predict(pictures)
    assert said == pytest.approx(expected, rel=2e-3)  # two bytes a logarithm
    right = said.argmax(axis=1) == tiny_data.test.labels
    assert record.accuracy is not None
    assert right.sum() == record.accuracy.num_top1
    assert predictor.info.class_names == tiny_data.class_names
    assert predictor.info.top1 == record.accuracy.top1
    assert predictor.info.transform.short_side == 32


def test_a_higher_temperature_leaves_the_order_and_evens_the_probabilities(
    tmp_path: Path, tiny_data: Any, runtime: Any
) -> None:
    context = open_context(tmp_path / "run", tiny_data, runtime)
    write_cell(context)
    predictor = open_predictor(run=context.folder)
    pictures = list(tiny_data.test.images[:8, 4:36, 4:36])
    plain, warm = predictor.predict(pictures), predictor.predict(pictures, temperature=3)
    assert (plain.argsort(axis=1) == warm.argsort(axis=1)).all()
    assert (warm.max(axis=1) < plain.max(axis=1)).all()
    cubes = warm.astype(np.float64) ** 3
    assert cubes / cubes.sum(axis=1, keepdims=True) == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize(("width", "height"), [(90, 41), (41, 90), (32, 32), (400, 7)])
def test_a_picture_is_prepared_as_a_data_set_prepares_its_files(
    width: int, height: int, tmp_path: Path
) -> None:
    draw = np.random.default_rng(width)
    pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    path = tmp_path / "x.png"
    Image.fromarray(pixels).save(path)
    assert np.array_equal(fit_square(pixels, 32, 3), decode_square(path, 32))
    assert np.array_equal(fit_square(decode_picture(path), 32, 3), decode_square(path, 32))
    assert fit_square(pixels, 32, 1).shape == (32, 32, 1)


def test_the_best_on_validation_is_meant_where_nothing_is_named(
    tmp_path: Path, tiny_data: Any, runtime: Any
) -> None:
    context = open_context(tmp_path / "run", tiny_data, runtime)
    for model, seed, top1 in (("mlp", 0, 40), ("lenet5", 0, 30), ("lenet5", 1, 35)):
        write_cell(context, model, seed, validation_top1=top1)
    chosen = find_cell(context.folder).record
    assert (chosen.model, chosen.seed) == ("mlp", 0)
    assert find_cell(context.folder, "lenet5").record.seed == 1
    assert find_cell(context.folder, "lenet5", 0).record.seed == 0
    with pytest.raises(ValueError, match=r"unknown; did you mean lenet5\?"):
        find_cell(context.folder, "lenet")
    with pytest.raises(ValueError, match=r"--seed 7: .* has weights of seed 0, 1"):
        find_cell(context.folder, "lenet5", 7)


def test_a_published_run_is_refused_since_its_weights_are_left_out(root: Path) -> None:
    with pytest.raises(ValueError, match="has no weights"):
        open_predictor(run=root / "results" / "quick")


def test_weights_of_other_classes_are_refused_by_name(
    tmp_path: Path, tiny_data: Any, runtime: Any
) -> None:
    context = open_context(tmp_path / "run", tiny_data, runtime)
    write_cell(context)
    path = cell_folder(context.folder, CellKey("lenet5", 0)) / "record.json"
    path.write_text(path.read_text().replace('"class 9"', '"class 9", "class 10"'))
    path.write_text(path.read_text().replace('"superclass_of": [', '"superclass_of": [0,'))
    with pytest.raises(ValueError, match=r"is \(10, 84\) in the weights and \(11, 84\)"):
        open_predictor(run=context.folder)
