"""What a record says of the data and the model of a cell."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bench.data.dataset import Dataset
from bench.results.record import DataInfo
from zoo.spec import ModelSpec


def data_info(data: Dataset, image_size: int, spec: Mapping[str, Any]) -> DataInfo:
    """What a record says of the data: which images, and how this model saw them."""
    return DataInfo(
        name=data.name, stand_in=data.stand_in, source=data.source, checksum=data.checksum, protocol=data.protocol,
        image_size=image_size, num_train=len(data.train_indices), num_validation=len(data.validation_indices),
        num_test=len(data.test.labels), class_names=data.class_names, superclass_names=data.superclass_names,
        superclass_of=data.superclass_of, mean=tuple(spec.get("mean") or data.mean),
        std=tuple(spec.get("std") or data.std),
    )  # fmt: skip


def spec_as_json(spec: ModelSpec) -> dict[str, Any]:
    """A spec as plain JSON values."""
    plain = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    return {k: dict(v) if isinstance(v, Mapping) else list(v) if isinstance(v, tuple) else v for k, v in plain.items()}
