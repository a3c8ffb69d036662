"""Export a trained model as one file, from pixels to probabilities, checked on the whole test set.

python -m bench.export lenet5 --run runs/a --onnx              beside its weights
python -m bench.export lenet5 --run runs/a --onnx lenet5.onnx --int8
python -m bench.export --run runs/a --torchscript best.pt --program best.pt2

Exit codes: 0 every file is kept; 1 one isn't, since it can't be exported or answers otherwise; 2
for a wrong request; 130 interrupted.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.deploy.cell_choice import EXPORT, WEIGHTS, TrainedCell, find_cell
from bench.deploy.parser import make_parser
from zoo.terminal import refuse, show, tolerate_output

FORMS = ("onnx", "torchscript", "program")
INTERRUPTED = 128 + signal.SIGINT
BESIDE_WEIGHTS = Path()  # of --onnx without a file


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0, 1 for a file that isn't kept, 2 for a wrong request."""
    options = _parse(words)
    try:
        check_options(options)
        cell = find_cell(options.run, options.model, options.seed)
        if not (cell.folder / WEIGHTS).is_file():
            raise ValueError(f"{cell.folder}: has an export, and no {WEIGHTS} to make another of")
        return _export(cell, options)
    except ValueError as error:
        return refuse(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _export(cell: TrainedCell, options: argparse.Namespace) -> int:
    # Imported here: torch takes seconds that a wrong request shouldn't pay for.
    from bench.deploy.checked_export import Exporter, ExportError
    from bench.deploy.image_check import find_photographs, open_data_of

    data = open_data_of(cell.record, options.data_dir)
    files = find_photographs(cell.record, options.data_dir)
    exporter = Exporter.open(cell, data, files, channels_first=options.layout == "NCHW")
    validation = cell.validation_top1
    chosen = "" if validation is None else f", {validation:.2f} % on validation"
    show(f"{exporter.info.title}{chosen}")
    code = 0
    for form in FORMS:
        path = getattr(options, form)
        if path is None:
            continue
        if path == BESIDE_WEIGHTS:
            path = cell.folder / EXPORT
        try:
            content = exporter.export(form, path, show)
            if options.int8 and form == "onnx":
                exporter.quantise(content, path.with_suffix(".int8.onnx"), show)
        except ExportError as error:
            refuse(error)
            code = 1
    return code


def check_options(options: argparse.Namespace) -> None:
    """Refuse a request without a file, or with one that can't be written."""
    paths = [getattr(options, form) for form in FORMS]
    if not any(paths):
        raise ValueError("nothing to write: give --onnx, --torchscript FILE or --program FILE")
    if options.int8 and options.onnx is None:
        raise ValueError("--int8: is made of the ONNX file; give --onnx too")
    for path in paths:
        if path is None or path == BESIDE_WEIGHTS:
            continue
        if path.is_dir():
            raise ValueError(f"{path}: is a folder; name a file")
        if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
            raise ValueError(f"{path}: its folder isn't there, or can't be written")


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("bench.export", __doc__)
    parser.add_argument("model", nargs="?", metavar="NAME", help="default: the best on validation")
    parser.add_argument("--run", type=Path, required=True, help="the folder of the run")
    parser.add_argument("--seed", type=int, metavar="N", help="default: the best on validation")
    parser.add_argument(
        "--onnx",
        type=Path,
        nargs="?",
        const=BESIDE_WEIGHTS,
        metavar="FILE",
        help=f"an ONNX file; without FILE {EXPORT} beside the weights, where predict finds it",
    )
    parser.add_argument("--torchscript", type=Path, metavar="FILE", help="a TorchScript program")
    parser.add_argument("--program", type=Path, metavar="FILE", help="a program of torch.export")
    parser.add_argument(
        "--int8", action="store_true", help="also FILE.int8.onnx, in 8-bit integers, with its loss"
    )
    parser.add_argument(
        "--layout",
        choices=("NHWC", "NCHW"),
        default="NHWC",
        help="how the pixels lie that the file takes: channels last (default) or first",
    )
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where the run's data set lies now"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    tolerate_output()
    sys.exit(main())
