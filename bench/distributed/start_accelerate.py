"""Start a run's workers with accelerate, and report how they failed as data.

python -m bench.distributed.start_accelerate ACCELERATE'S_OPTIONS bench/run.py OPTIONS

accelerate's own command turns every failure into exit 1 and a traceback of itself. Here what it
raises is written to the file that FAILURES_FILE names: the exit code of each rank that failed
(-SIGNAL if it died of one, as in `subprocess`), or that the machines never met.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed import DistNetworkError, DistStoreError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError

from bench.distributed.process import FAILURES_FILE


def main(argv: list[str]) -> int:
    """Run `accelerate launch` with these words, and return 0, or 1 if anything failed."""
    # torchrun logs every death and every signal that it sends; our supervisor says it in one line.
    logging.disable(logging.ERROR)
    arguments = launch_command_parser().parse_args(argv)
    exit_codes: dict[int, int] = {}
    never_met = False
    try:
        launch_command(arguments)
        return 0
    except ChildFailedError as error:  # of torchrun, which starts several processes
        exit_codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
    except subprocess.CalledProcessError as error:  # of a single process
        exit_codes = {0: error.returncode}
    except (DistNetworkError, DistStoreError, RendezvousError):
        # On one machine only the traceback explains what is wrong with its network.
        if arguments.num_machines == 1:
            raise
        never_met = True
    except (SignalException, KeyboardInterrupt):
        # Slurm signals every process of a job: the workers got it too, and leave their exit code.
        return 1
    report = {"exit_codes": exit_codes, "never_met": never_met}
    Path(os.environ[FAILURES_FILE]).write_text(json.dumps(report), encoding="utf-8")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
