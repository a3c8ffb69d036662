"""Do experiments that answer a question, and draw what they found.

    python -m bench.studies                      list the studies
    python -m bench.studies relu_tanh            do one, or go on with it
    python -m bench.studies all --quick          the quick forms of all, within an hour on 2 cores

Each trains its variants as ordinary runs below runs/studies/NAME (NAME-quick), which
`python -m bench.verify` and `python -m reports` read, and writes its finding beside them. Given
again, a command goes on where it was interrupted.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.distributed.process import follow_launcher
from bench.distributed.variable import prepare_environment
from bench.request.command_line import report_error
from bench.studies.catalogue import CATALOGUE, Study, choose_studies
from zoo.terminal import show, tolerate_output

FOLDER = Path("runs/studies")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when done, 2 for a wrong request, 130 or 143 if interrupted."""
    options = _parse(sys.argv[1:] if words is None else words)
    if not options.names:
        width = max(len(study.name) for study in CATALOGUE)
        for study in CATALOGUE:
            show(f"{study.name:{width}} {study.question} (quick: about {study.minutes:g} min)")
        return 0
    try:
        studies = choose_studies(tuple(options.names))
    except ValueError as error:
        return report_error(error)
    prepare_environment()
    follow_launcher()
    return _do_studies(studies, options)


def _do_studies(studies: Sequence[Study], options: argparse.Namespace) -> int:
    # Imported here: they bring in torch, which a list and a wrong name can do without.
    from bench.distributed.runtime import Interrupted
    from bench.results.finding import find_findings
    from bench.studies.lab import Lab
    from bench.studies.outcome import do_study

    code = 0
    for study in studies:
        folder = options.out / (f"{study.name}-quick" if options.quick else study.name)
        lab = Lab(folder, options.quick, options.data_dir, options.num_threads, say=show)
        try:
            finding = do_study(study, lab)
        except ValueError as error:
            # The others may be done all the same.
            code = report_error(ValueError(f"{study.name}: {error}"))
            continue
        except OSError as error:
            place = error.filename or folder
            report_error(f"{place}: {error.strerror}; what is trained is kept: give it again")
            return 1
        except (Interrupted, KeyboardInterrupt) as stop:
            show("interrupted: what is trained is kept; give the same command to go on")
            return 128 + (stop.signum if isinstance(stop, Interrupted) else signal.SIGINT)
        for sentence in finding.answer.sentences:
            show(f"{study.name}: {sentence}")
    if not find_findings([options.out]):
        return code
    page = [sys.executable, "-m", "reports", "studies", str(options.out)]
    return subprocess.run(page, check=False).returncode or code


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.studies",
        description="Do experiments that answer a question. Without a name the studies are listed.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="studies to do, or all")
    parser.add_argument(
        "--quick", action="store_true", help="the short forms, minutes each, marked so"
    )
    parser.add_argument(
        "--out", type=Path, default=FOLDER, metavar="DIR", help=f"default: {FOLDER}"
    )
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where data sets are, as for a run"
    )
    parser.add_argument(
        "--num-threads", type=int, metavar="N", help="threads of a process, as for a run"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    tolerate_output()
    sys.exit(main())
