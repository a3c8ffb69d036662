"""From a request to a run that is open: its cells, its folder, and what all of them share."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from bench.cell.spec_check import check_spec
from bench.data.dataset import Dataset
from bench.data.run_data import describe_part, open_run_data
from bench.distributed.runtime import Runtime
from bench.environment import describe_run
from bench.request.command_line import check_folder, explain_names
from bench.request.config import RunConfig, to_json
from bench.results.record import CellKey
from bench.results.storage import read_run, write_json
from bench.train.build import RunContext
from bench.train.optimizer import check_optimizer
from zoo.cause import UserCodeError, cause_of
from zoo.registry import list_fitted_once, resolve
from zoo.spec import ModelSpec


@dataclass(frozen=True)
class Cell:
    """What one record is of. `spec` is a string, the cause, where the model's own code failed."""

    key: CellKey
    spec: ModelSpec | str

    @property
    def model(self) -> str:
        """Return the model's name."""
        return self.key.model

    @property
    def seed(self) -> int:
        """Return the seed that it is trained with."""
        return self.key.seed


def list_cells(config: RunConfig, data: Dataset) -> list[Cell]:
    """List the cells of a run, model by model.

    ValueError for a name that a library lacks, an unknown optimiser, images that a network is too
    large for, or one without the dropout or stochastic depth that is asked for.
    """
    check_optimizer(config.optimizer)
    num_classes = len(data.class_names)
    specs: dict[str, ModelSpec | str] = {}
    for model in config.models:
        spec: ModelSpec | str
        try:
            spec = resolve(model, num_classes=num_classes)
        except ValueError:
            raise
        # What a user's own code raises, and a library's, is a row and no refusal of the others.
        except UserCodeError as error:
            spec = str(error)
        except Exception as error:
            spec = cause_of(error)
        else:
            check_spec(spec, config, data)
        specs[model] = spec
    return [Cell(key, specs[key.model]) for key in config.cell_keys]


def list_specs(cells: Sequence[Cell]) -> dict[str, ModelSpec]:
    """Return the specs of the models that could be built, by name, in their order."""
    return {cell.model: cell.spec for cell in cells if isinstance(cell.spec, ModelSpec)}


def claim_run(config: RunConfig, data: Dataset, runtime: Runtime) -> RunContext:
    """Take the run's folder for this world and write down what is asked for.

    ValueError if another process has it, if not all machines hold the same data, or if the run was
    begun with other data.
    """
    folder = _run_folder(config)
    # Before anything is written: each machine found or downloaded its own copy.
    held = runtime.gather(f"{data.name} {data.checksum[:12]}")
    if len(set(held)) > 1:
        raise ValueError(
            f"the machines don't hold the same data: {', '.join(held)}; name it by --dataset"
        )
    runtime.claim_folder(folder)
    runtime.on_main(check_same_data, folder, data)
    runtime.on_main(_write_request, config, folder)
    sizes = describe_part(data, config)
    runtime.say(f"{data.name}: {sizes}")
    for line in _explain_budget(config):
        runtime.say(line)
    namesakes = explain_names(config)
    if namesakes:
        runtime.say(namesakes)
    return make_context(config, data, runtime, images_a_class=sizes)


def _explain_budget(config: RunConfig) -> Iterator[str]:
    """Say of what is fitted once that a budget of epochs or seconds doesn't bind it."""
    budget = f"--epochs {config.epochs}"
    if config.seconds is not None:
        budget = f"--seconds {config.seconds:g}"
    if not config.takes_steps:
        yield f"--train {config.train} fits once: {budget} doesn't bind"
    models = list_fitted_once(config.models)
    if models and config.epochs != 0:
        are = "is" if len(models) == 1 else "are"
        yield f"{', '.join(models)} {are} fitted once: {budget} doesn't bind"


def check_same_data(folder: Path, data: Dataset) -> None:
    """Refuse to go on with a run on other data than its cells were trained on."""
    try:
        records, _ = read_run(folder)
    except ValueError as error:
        raise ValueError(f"{error}; remove it to have it made anew") from error
    for record in records:
        before = record.data
        # The checksum is of pixels and labels, which don't know what the classes are called.
        same_classes = tuple(before.class_names) == data.class_names
        if before.checksum == data.checksum and same_classes:
            continue
        raise ValueError(
            f"--resume {folder}: its cells were trained on {before.name} "
            f"(checksum {before.checksum[:12]}, {len(before.class_names)} classes), and this is "
            f"{data.name} ({data.checksum[:12]}, {len(data.class_names)} classes): "
            "give the data as they were, or name a new folder by --out"
        )


def _write_request(config: RunConfig, folder: Path) -> None:
    """Write down what is asked for, unless another run has come into the folder since the check."""
    check_folder(config)
    try:
        write_json(folder / "config.json", to_json(config))
    except OSError as error:
        raise ValueError(f"--out {folder}: can't be written ({error.strerror})") from error


@contextlib.contextmanager
def open_alone(
    config: RunConfig, *, num_threads: int | None = None, **environment: JsonValue
) -> Iterator[RunContext]:
    """Open a run in a process by itself, without claiming its folder.

    `num_threads` is used where the request names none; `environment` is added to what is said of
    the machine.
    """
    data = open_run_data(config)
    with Runtime.start(
        dataclasses.replace(config, num_threads=config.num_threads or num_threads)
    ) as runtime:
        yield make_context(config, data, runtime, **environment)


def make_context(
    config: RunConfig, data: Dataset, runtime: Runtime, **environment: JsonValue
) -> RunContext:
    """Put together what the cells of a run share, with all that its numbers may depend on."""
    described = describe_run(config, runtime) | environment
    return RunContext(config, data, runtime, _run_folder(config), described)


def _run_folder(config: RunConfig) -> Path:
    assert config.out is not None, "the request was completed"
    return config.out
