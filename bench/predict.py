"""Say what is on pictures: the likeliest classes by a run's model, or by an exported file.

python -m bench.predict photo.jpg --run runs/a --model lenet5
python -m bench.predict photos/ more.png --onnx lenet5.onnx --csv > classes.csv
curl -s URL | python -m bench.predict - --onnx lenet5.onnx --json

Exit codes: 0 all pictures are answered; 1 some can't be read; 2 for a wrong request;
130 interrupted.
"""

import argparse
import csv
import io
import json
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.class_folder import SUFFIXES
from bench.data.picture import decode_picture, read_picture
from bench.deploy.guess import Guess, rank_classes
from bench.deploy.parser import make_parser
from bench.deploy.predictor import Predictor, open_predictor
from bench.deploy.progress import Progress
from zoo.cause import first_line
from zoo.suggest import did_you_mean
from zoo.terminal import refuse, show, tolerate_output, visible

STDIN = "-"
INTERRUPTED = 128 + signal.SIGINT
COLUMNS = ("file", "rank", "class", "superclass", "probability")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0, 1 for pictures that can't be read, 2 for a wrong request."""
    options = _parse(words)
    try:
        files = list_pictures(options.pictures)
        predictor = open_predictor(
            run=options.run,
            model=options.model,
            seed=options.seed,
            onnx=options.onnx,
            num_threads=options.num_threads,
        )
        temperature = predictor.find_temperature() if options.calibrate else 1.0
    except ValueError as error:
        return refuse(error)
    calibrated = f", temperature {temperature:.2f}" if options.calibrate else ""
    _note(f"{predictor.info.title}, by {predictor.library}{calibrated}")
    try:
        num_failed = _answer_all(predictor, files, temperature, options)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1 if num_failed else 0


def _answer_all(
    predictor: Predictor, files: Sequence[str], temperature: float, options: argparse.Namespace
) -> int:
    """Answer batch by batch; return how many pictures couldn't be read."""
    write = WRITERS[options.format]
    if options.format == "csv":
        csv.writer(sys.stdout).writerow(COLUMNS)
    progress = Progress("pictures", len(files), answers_show=True)
    num_read = 0
    for start in range(0, len(files), options.batch):
        batch = files[start : start + options.batch]
        squares = {}
        for number, name in enumerate(batch, start):
            square = _read_square(name, predictor)
            if square is not None:
                squares[name] = square
            progress.show(number)
        if squares:
            stacked = np.stack(list(squares.values()))
            answers = predictor.predict_squares(stacked, temperature=temperature)
            for name, probabilities in zip(squares, answers.tolist(), strict=True):
                write(name, rank_classes(probabilities, predictor.info, options.top))
        num_read += len(squares)
    progress.show(len(files))
    return len(files) - num_read


def _read_square(name: str, predictor: Predictor) -> NDArray[np.uint8] | None:
    """Read a picture as what is scored; None, and a line that says why, where it can't be."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and odd tags, and raises for those that are too large.
            warnings.simplefilter("ignore")
            if name == STDIN:
                return predictor.fit(read_picture(io.BytesIO(sys.stdin.buffer.read())))
            return predictor.fit(decode_picture(Path(name)))
    except Exception as error:
        # A damaged file makes its decoder raise nearly anything.
        _note(f"{name}: can't be read: {first_line(error)}")
        return None


def list_pictures(given: Sequence[str]) -> list[str]:
    """List the pictures that files and folders stand for, each once, in order.

    ValueError for a name that isn't there, and for a folder without a picture.
    """
    found: dict[str, None] = {}  # an ordered set
    for name in given:
        path = Path(name)
        if name == STDIN or path.is_file():
            found[name] = None
        elif path.is_dir():
            inside = sorted(path.rglob("*"))
            pictures = [str(each) for each in inside if each.name.lower().endswith(SUFFIXES)]
            if not pictures:
                raise ValueError(f"{name}: holds no picture ({' '.join(SUFFIXES)})")
            found |= dict.fromkeys(pictures)
        elif path.exists():
            raise ValueError(f"{name}: neither a file nor a folder")
        else:
            beside = path.parent.iterdir() if path.parent.is_dir() else ()
            hint = did_you_mean(path.name, [each.name for each in beside])
            raise ValueError(f"{name}: no such file or folder" + (f"; {hint}" if hint else ""))
    return list(found)


def _write_table(name: str, guesses: Sequence[Guess]) -> None:
    show(name)
    for guess in guesses:
        over = f"  ({guess.superclass})" if guess.superclass else ""
        show(f"  {100 * guess.probability:5.1f} %  {guess.name}{over}")


def _write_json(name: str, guesses: Sequence[Guess]) -> None:
    classes = []
    for guess in guesses:
        each: dict[str, str | float] = {"class": guess.name, "probability": guess.probability}
        if guess.superclass:
            each["superclass"] = guess.superclass
        classes.append(each)
    print(json.dumps({"file": name, "classes": classes}), flush=True)


def _write_csv(name: str, guesses: Sequence[Guess]) -> None:
    rows = csv.writer(sys.stdout)
    for rank, guess in enumerate(guesses, start=1):
        rows.writerow((name, rank, guess.name, guess.superclass, f"{guess.probability:.6g}"))


WRITERS: dict[str, Callable[[str, Sequence[Guess]], None]] = {
    "table": _write_table,
    "json": _write_json,
    "csv": _write_csv,
}


def _note(line: str) -> None:
    """Write a line to standard error, beside what is answered."""
    sys.stderr.write(f"{visible(line)}\n")


def _positive(word: str) -> int:
    number = int(word) if word.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number from 1 on")
    return number


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("bench.predict", __doc__)
    parser.add_argument(
        "pictures", nargs="+", metavar="IMAGE", help="an image file, a folder of them, or - (stdin)"
    )
    parser.add_argument("--run", type=Path, help="the folder of a run, whose weights are there")
    parser.add_argument("--model", metavar="NAME", help="default: the best on validation")
    parser.add_argument("--seed", type=int, metavar="N", help="default: the best on validation")
    parser.add_argument("--onnx", type=Path, metavar="FILE", help="a file of bench.export instead")
    parser.add_argument(
        "--top", type=_positive, default=5, metavar="N", help="how many classes (default: 5)"
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="divide the scores by the temperature that is right on validation",
    )
    formats = parser.add_mutually_exclusive_group()
    for name, about in (("json", "a JSON object a picture, a line each"), ("csv", "a CSV table")):
        formats.add_argument(
            f"--{name}", action="store_const", const=name, dest="format", help=about
        )
    parser.add_argument(
        "--batch", type=_positive, default=32, metavar="N", help="pictures at once (default: 32)"
    )
    parser.add_argument("--num-threads", type=_positive, metavar="N", help="default: all cores")
    parser.set_defaults(format="table")
    return parser.parse_args(words)


if __name__ == "__main__":
    tolerate_output()
    sys.exit(main())
