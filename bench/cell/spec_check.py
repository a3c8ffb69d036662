"""What of a model speaks against a request, found before anything starts."""

from bench.data.dataset import Dataset
from bench.data.subset import take_parts
from bench.distributed.hardware import count_places
from bench.distributed.process import read_world
from bench.request.config import RunConfig
from bench.train.build import get_dropout_rates
from bench.train.solver_choice import check_solver
from zoo.fit import check_image_size
from zoo.fitted_model import FittedModel
from zoo.registry import create_empty
from zoo.regularise import build_regularised
from zoo.spec import ONCE, ModelSpec


def check_spec(spec: ModelSpec, config: RunConfig, data: Dataset) -> None:
    """Refuse a model that can't read the images, or lacks the dropout that is asked for.

    ValueError also for one that is fitted once to more features than there is memory for, or by a
    library that isn't installed.
    """
    num_classes = len(data.class_names)
    image_size = config.image_size or spec.image_size
    # A user's own network that can't read them is a row: its code may not run without numbers.
    is_known_to_fit = image_size == spec.image_size and "@" not in spec.name
    if not is_known_to_fit and spec.source != "file":
        check_image_size(spec.name, image_size, in_channels=spec.in_channels)
    rates = get_dropout_rates(config)
    if any(rate is not None for rate in rates.values()):
        # Built for its refusal alone.
        build_regularised(spec, num_classes, **rates)
    if spec.learner == ONCE and config.epochs != 0:
        model = create_empty(spec.name, num_classes=num_classes)
        assert isinstance(model, FittedModel), "its spec says that it is fitted once"
        num_images = max(len(part.train_indices) for part in take_parts(data, config))
        # On this machine, whose memory it is.
        num_processes = read_world().local_size
        if config.pack:
            num_processes = count_places(config.pack_size, config.num_threads)
        check_solver(spec.name, model, num_images, num_processes)
