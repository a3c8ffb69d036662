"""Records to a page, a table, a CSV and a pandas DataFrame.

`python -m reports RUN` makes the first three; `read_frame` is for notebooks and scripts:

>>> import reports
>>> frame = reports.read_frame("runs/2026-11-22-quick", "runs/2026-11-23-long")
>>> finished = frame[frame["status"] == "ok"]
>>> finished.groupby("model")["top1"].agg(["mean", "std", "count"]).sort_values("mean")
"""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from reports.frame import COLUMNS
from reports.runs import read_source
from reports.tidy import tidy_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_frame"]

# What isn't named here is a float. The types are fixed, not inferred: a run whose accuracies all
# happen to be whole must not give a column of integers. All of them can hold missing values.
TYPES = {
    "string": (
        "run",
        "model",
        "family",
        "status",
        "dataset",
        "protocol",
        "source",
        "top1_split",
        "error",
        "precision",
        "parallel",
        "batch_choice",
        "format_choice",
        "machine",
        "git_commit",
        "torch",
        "created",
        "finished",
        "asked_optimizer",
        "schedule",
        "augment",
        "pretrained",
        "packed",
        "cuda",
        "cpu_capability",
    ),
    "Int64": (
        "seed",
        "num_parameters",
        "num_local_parameters",
        "multiply_adds",
        "world_size",
        "num_threads",
        "batch_size",
        "epochs",
        "best_validation_epoch",
        "image_size",
        "num_images",
        "infer_best_batch",
        "budget_epochs",
        "accumulate",
        "patience",
        "crops",
        "workers",
    ),
    "boolean": (
        "stand_in",
        "channels_last",
        "git_dirty",
        "tf32",
        "cudnn_benchmark",
        "compile",
        "balance",
        "class_weights",
        "exact",
        "sync_batchnorm",
        "large_pages",
        "deterministic",
    ),
}


def read_frame(*folders: str | PathLike[str]) -> "pd.DataFrame":
    """Return the records of runs as a pandas DataFrame: one row a record (a model with one seed).

    A folder is a run's or holds runs. The columns are those of `python -m reports RUN --csv FILE`,
    in the same order and units: percent, images per second of all processes together, bytes,
    seconds, milliseconds. What a comparison measured of a model stands in the rows of all its
    seeds; what was not measured is missing (`pandas.NA`). Times are ISO 8601 text. A record that
    can't be read is left out.

    Raise ValueError for a folder that doesn't exist or holds no readable record.
    """
    # Imported here: pages, tables and the list of runs are made without pandas.
    import pandas as pd

    if not folders:
        raise ValueError("read_frame needs a run's folder, or a folder of runs")
    source = read_source([Path(folder) for folder in folders])
    types = dict.fromkeys(COLUMNS, "Float64")
    for name, columns in TYPES.items():
        types |= dict.fromkeys(columns, name)
    return pd.DataFrame(tidy_rows(source), columns=list(COLUMNS)).astype(types)
