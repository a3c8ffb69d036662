"""What a trained model is and what it takes, from its record or from an exported file. No torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    # A record is read by pydantic, which an exported file does without.
    from bench.results.record import RunRecord

FORMAT = 1  # of an exported file's metadata
LARGEST_SIDE = 8192  # pixels; a file that says more would take all memory
KEYS = ("model", "checksum", "class_names", "transform")  # without which nobody can use a file


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How a picture becomes what a network takes.

    It is made grey where the data set is of 1 channel. Its short side is resized to `short_side`
    (bilinear, antialiased), the centre square taken, and of that the centre of `side` pixels. Then
    (value / 255 - mean) / std, grey or colour as `in_channels` says, resized to `image_size`.
    """

    short_side: int
    side: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    in_channels: int
    image_size: int

    def __post_init__(self) -> None:
        """Raise ValueError for sizes that no picture of ours has."""
        sides = (self.short_side, self.side, self.image_size)
        channels = {self.channels, self.in_channels}
        if not all(0 < side <= LARGEST_SIDE for side in sides) or not channels <= {1, 3}:
            raise ValueError(f"a transform to {sides} px and {sorted(channels)} channels")


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A trained model: which run's, what its classes are called, how its pictures are prepared.

    `checksum` is the sha256 of its weights, `top1` the record's on the test set, in percent.
    `superclass_of` (classes,) points into `superclass_names`; both are empty without superclasses.
    """

    model: str
    seed: int
    run: str
    dataset: str
    checksum: str
    class_names: tuple[str, ...]
    superclass_names: tuple[str, ...]
    superclass_of: tuple[int, ...]
    transform: Transform
    top1: float | None

    @property
    def title(self) -> str:
        """Return its name for a person: `lenet5, seed 0 (run quick)`."""
        return f"{self.model}, seed {self.seed} (run {self.run})"

    def superclass_name(self, number: int) -> str:
        """Return the name of a class's superclass, empty where it has none."""
        return self.superclass_names[self.superclass_of[number]] if self.superclass_of else ""


def info_of_cell(folder: Path, record: "RunRecord") -> ModelInfo:
    """Return what a cell's record says of its model.

    ValueError for a record that says nothing of the images' size, and has no samples beside it.
    """
    # Imported here: an exported file says all this itself.
    from bench.data.folder import MARGIN_SHARE

    data = record.data
    side, _, channels = data.stored_shape or _read_sample_shape(folder)
    short_side = data.short_side
    if short_side is None:
        # What records before that field don't say: a folder's images have a margin of picture.
        short_side = side + (2 * (side // MARGIN_SHARE) if data.name == "imagefolder" else 0)
    in_channels = record.spec.get("in_channels", 3)
    assert isinstance(in_channels, int), "a spec's channels are a whole number"
    return ModelInfo(
        model=record.model,
        seed=record.seed,
        run=record.run,
        dataset=data.name,
        checksum=record.checksums.get("model.safetensors", ""),
        class_names=data.class_names,
        superclass_names=data.superclass_names,
        superclass_of=data.superclass_of,
        transform=Transform(
            short_side=short_side,
            side=side,
            channels=channels,
            mean=data.mean,
            std=data.std,
            in_channels=in_channels,
            image_size=data.image_size,
        ),
        top1=record.accuracy.top1 if record.accuracy else None,
    )


def _read_sample_shape(folder: Path) -> tuple[int, ...]:
    """Return the shape of the cell's sample images: records before `stored_shape` have no other."""
    try:
        with np.load(folder / "samples.npz", allow_pickle=False) as samples:
            return tuple(samples["image"].shape[1:])
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder}: neither record.json nor samples.npz says how large the data set's "
            "images are"
        ) from error


def to_metadata(info: ModelInfo) -> dict[str, str]:
    """Return a model's info as an exported file keeps it: text by key, lists as JSON."""
    plain = {"format": FORMAT} | asdict(info)
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in plain.items()
    }


def from_metadata(metadata: Mapping[str, str]) -> ModelInfo:
    """Return the info that an exported file keeps; ValueError names what it lacks."""
    missing = [key for key in KEYS if key not in metadata]
    if missing:
        raise ValueError(
            f"its metadata lack {', '.join(missing)}: it isn't of `python -m bench.export`, and "
            "nobody knows its classes or how its pictures are prepared"
        )
    try:
        if int(metadata.get("format", "0")) > FORMAT:
            raise ValueError("its metadata are of a newer version of this program")
        values = {field.name: _read_value(field.type, metadata[field.name]) for field in INFO}
        transform = {key: _freeze(value) for key, value in values["transform"].items()}
        return ModelInfo(**values | {"transform": Transform(**transform)})
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"its metadata can't be read ({type(error).__name__}: {error})") from error


INFO = fields(ModelInfo)


def _read_value(kind: Any, text: str) -> Any:
    return text if kind is str else _freeze(json.loads(text))


def _freeze(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
