"""Colours of the page. Oracles: WCAG 2.2's contrast formula; Machado et al.

(2009) for colour blindness.
"""

import itertools
import re
from importlib.resources import files

import numpy as np
import pytest
from numpy.typing import NDArray

from reports.chart.palette import GROUND, HUES, SHAPES, assign_marks

# severity 1.0, on linear RGB
BLINDNESS = {
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour: str) -> NDArray[np.float64]:
    raw = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(raw <= 0.04045, raw / 12.92, ((raw + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    dark, light = sorted(float(weights @ linear(c)) for c in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(np.maximum(to_xyz @ np.clip(rgb, 0, 1), 1e-6) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def variables(theme: str) -> dict[str, str]:
    """The colours that the style sheet names for a theme."""
    text = (files("reports") / "templates" / "page.css").read_text(encoding="utf-8")
    block = text.split(":root[data-theme=dark]{" if theme == "dark" else ":root{", 1)[1].split(
        "}", 1
    )[0]
    return dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{6})", block))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_stand_out_from_the_ground(theme: str) -> None:
    assert min(contrast(hue, GROUND[theme]) for hue in HUES[theme]) >= 3


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["text", "soft", "accent", "bad", "good", "warn"])
def test_text_can_be_read_on_ground_and_panel(theme: str, name: str) -> None:
    colours = variables(theme)
    assert contrast(colours[name], GROUND[theme]) >= 4.5
    assert contrast(colours[name], colours["panel"]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("hue", [0, 1])
def test_numbers_can_be_read_on_every_colour_of_the_matrix(theme: str, hue: int) -> None:
    """Its scale ends half way between hue and ground; the steepest contrast lies at an end."""
    ends = [
        [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        for colour in (HUES[theme][hue], GROUND[theme])
    ]
    halfway = "#" + "".join(f"{(a + b) // 2:02x}" for a, b in zip(*ends, strict=True))
    assert contrast(variables(theme)["text"], halfway) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_warnings_can_be_read_on_their_banner(theme: str) -> None:
    colours = variables(theme)
    assert min(contrast(colours[name], colours["warn-bg"]) for name in ("text", "warn")) >= 4.5


@pytest.mark.parametrize("blindness", [None, *BLINDNESS])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_any_two_series_differ_by_colour_or_shape(theme: str, blindness: str | None) -> None:
    matrix = np.array(BLINDNESS[blindness]) if blindness else np.eye(3)
    seen = [lab(matrix @ linear(hue)) for hue in HUES[theme]]
    marks = assign_marks(f"family {i:02d}" for i in range(30)).values()
    for one, other in itertools.combinations(marks, 2):
        apart = float(np.linalg.norm(seen[one.hue] - seen[other.hue])) >= 12
        assert apart or one.shape != other.shape


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_hues_alone_are_apart_for_most_eyes(theme: str) -> None:
    seen = [lab(linear(hue)) for hue in HUES[theme]]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) >= 15


def test_a_family_keeps_its_mark_when_others_are_asked_in_another_order() -> None:
    assert assign_marks(["b", "a", "c"]) == assign_marks(["c", "b", "a", "a"])


def test_shapes_are_plotlys() -> None:
    from plotly.validator_cache import ValidatorCache

    known = ValidatorCache.get_validator("scatter.marker", "symbol")
    assert all(known.validate_coerce(shape) == shape for shape in SHAPES)
