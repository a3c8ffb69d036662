"""Compare image classifiers: train each, measure all against each other, write records and a report.

./launch.sh                                             the main job
accelerate launch bench/run.py --models lenet5 resnet18_cifar --epochs 10
python -m bench.run --recipe smoke --dataset synthetic  in one process
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

if (
    not __package__
):  # `python bench/run.py` puts bench/ first on the module path: the root belongs there
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.data.dataset import open_dataset
from bench.distributed.process import (
    LARGE_PAGES,
    abandon_world,
    check_world,
    follow_launcher,
    leave_exit_code,
    read_world,
    start_server,
)
from bench.launch.check import check_request, complete
from bench.request.command_line import complain, how_to_resume, parse
from bench.request.config import RunConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run a request; returns 0 if all is ok, 1 if a cell failed, 2 for a wrong request, 130 or 143 if interrupted."""
    follow_launcher()
    world = read_world()
    with contextlib.ExitStack() as stack:
        try:
            config = complete(parse(sys.argv[1:] if argv is None else argv))
            check_world(config.world, world)
            say = print if world.speaks else lambda line: None
            check_request(config, world_size=world.size, say=say)
            data = open_dataset(
                config.dataset,
                config.data_dir,
                protocol=config.protocol,
                image_size=config.image_size,
                skip_unreadable=config.skip_unreadable,
                workers=config.workers,
                say=say,
            )
            os.environ.setdefault(LARGE_PAGES, "1")
            if config.pack:
                start_server()
            # Imported here: torch takes seconds that --help and a wrong request shouldn't pay for.
            from bench.cell.display import Display
            from bench.cell.executor import run_cells
            from bench.cell.plan import show_plan
            from bench.cell.run_cell import claim_run, list_cells
            from bench.distributed.roll_call import WorldBroken
            from bench.distributed.runtime import Interrupted, Runtime
            from bench.measure.compare import compare_cells
            from bench.train.pretrained import check_pretrained

            runtime = stack.enter_context(Runtime.start(config))
            config = runtime.broadcast(config)
            cells = list_cells(config, data)
            runtime.on_main(check_pretrained, config, len(data.class_names))
            if config.dry_run:
                return leave_exit_code(show_plan(cells, config, data, runtime))
            context = claim_run(config, data, runtime)
        except ValueError as error:
            return leave_exit_code(complain(error, aloud=world.speaks))

        display = Display(runtime, len(cells))
        try:
            with runtime.failing_together():
                records = run_cells(cells, context, display)
                compare_cells(cells, records, context)
                reported = runtime.on_main(write_report, config)
        except Interrupted as stop:
            runtime.say(how_to_resume(config))
            return leave_exit_code(128 + stop.signum)
        except WorldBroken as broken:
            abandon_world(str(broken), how=how_to_resume(config), aloud=broken.speaks)
        except OSError as error:
            complain(
                f"{error.filename or config.out}: {error.strerror}; {how_to_resume(config)}",
                aloud=world.speaks,
            )
            return leave_exit_code(1)
        return leave_exit_code(
            0 if reported and all(record.status == "ok" for record in records) else 1
        )


def write_report(config: RunConfig) -> bool:
    """Start the report, a command of its own that needs no torch; says whether it was written."""
    return (
        subprocess.run([sys.executable, "-m", "reports", str(config.out)], check=False).returncode
        == 0
    )


if __name__ == "__main__":
    sys.exit(main())
