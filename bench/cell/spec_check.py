"""What of a model speaks against a request, found before anything starts."""

from bench.request.config import RunConfig
from bench.train.build import get_dropout_rates
from zoo.fit import check_image_size
from zoo.regularise import build_regularised
from zoo.spec import ModelSpec


def check_spec(spec: ModelSpec, config: RunConfig, num_classes: int) -> None:
    """Refuse a model that can't read the images, or lacks the dropout that is asked for."""
    image_size = config.image_size or spec.image_size
    # A user's own network that can't read them is a row: its code may not run without numbers.
    if image_size != spec.image_size and spec.source != "file":
        check_image_size(spec.name, image_size, in_channels=spec.in_channels)
    rates = get_dropout_rates(config)
    if any(rate is not None for rate in rates.values()):
        # Built for its refusal alone.
        build_regularised(spec, num_classes, **rates)
