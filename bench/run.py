"""Compare image classifiers: train each, measure all against each other, write a report.

./launch.sh                                             the main job
accelerate launch bench/run.py --models lenet5 resnet18_cifar --epochs 10
python -m bench.run --recipe smoke --dataset synthetic  in one process
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    # `python bench/run.py` puts bench/ first on the module path, where the project's root belongs;
    # `python -P bench/run.py` puts nothing there.
    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.cell.executor import choose_executor, prepare_executor
from bench.data.run_data import Dataset, open_run_data
from bench.distributed.process import (
    LARGE_PAGES,
    World,
    abandon_world,
    check_world,
    follow_launcher,
    leave_exit_code,
    read_world,
)
from bench.distributed.variable import prepare_environment
from bench.launch.check import check_request, complete, reserve_folder
from bench.request.command_line import how_to_resume, parse, report_error
from bench.request.config import RunConfig
from zoo.terminal import show, tolerate_output


def main(argv: Sequence[str] | None = None) -> int:
    """Check a request and run it in the world that the launcher has made.

    Returns 0 if all is well, 1 if a cell failed, 2 for a wrong request, 130 or 143 if interrupted.
    """
    prepare_environment()
    follow_launcher()
    world = read_world()
    try:
        asked = parse(sys.argv[1:] if argv is None else argv)
        config = complete(asked)
        check_world(config.world, world)
        say = show if world.speaks else lambda line: None
        check_request(config, world_size=world.size, say=say)
        data = open_run_data(config, say=say)
        # The other ranks are told its name by this one.
        if asked.out is None and not asked.dry_run and world.speaks:
            config = reserve_folder(config)
    except ValueError as error:
        return leave_exit_code(report_error(error, aloud=world.speaks))
    os.environ.setdefault(LARGE_PAGES, "1")
    prepare_executor(config)
    return run_request(config, data, world)


def run_request(config: RunConfig, data: Dataset, world: World) -> int:
    """Run the cells of a checked request, measure their models, and have the report written."""
    # Imported here: torch takes seconds that --help and a wrong request shouldn't pay for.
    from bench.cell.forecast import fit_budget, say_what_it_takes
    from bench.cell.open_run import claim_run, list_cells, list_specs
    from bench.cell.plan import show_plan
    from bench.distributed.roll_call import WorldBroken
    from bench.distributed.runtime import Interrupted, Runtime
    from bench.measure.compare import compare_models
    from bench.train.pretrained import check_pretrained

    with contextlib.ExitStack() as stack:
        # What only torch and the libraries can tell of a request is still found before it starts.
        try:
            runtime = stack.enter_context(Runtime.start(config))
            config = runtime.broadcast(config)
            cells = list_cells(config, data)
            runtime.on_main(check_pretrained, config, data.class_names)
            if config.dry_run:
                return leave_exit_code(show_plan(cells, config, data, runtime))
            config, cells = fit_budget(config, cells, data, runtime)
            context = claim_run(config, data, runtime)
        except ValueError as error:
            return leave_exit_code(report_error(error, aloud=world.speaks))

        executor = choose_executor(context)
        try:
            with runtime.failing_together():
                say_what_it_takes(cells, context)
                records = executor.run(cells)
                compare_models(list_specs(cells), records, context)
                reported = runtime.on_main(write_report, config)
        except Interrupted as stop:
            runtime.say(how_to_resume(config))
            return leave_exit_code(128 + stop.signum)
        except WorldBroken as broken:
            abandon_world(str(broken), how=how_to_resume(config), aloud=broken.speaks)
        except OSError as error:
            place = error.filename or config.out
            report_error(f"{place}: {error.strerror}; {how_to_resume(config)}", aloud=world.speaks)
            return leave_exit_code(1)
        all_ok = all(record.status == "ok" for record in records)
        return leave_exit_code(0 if reported and all_ok else 1)


def write_report(config: RunConfig) -> bool:
    """Have the report written by a command that needs no torch; returns whether it was."""
    done = subprocess.run([sys.executable, "-m", "reports", str(config.out)], check=False)
    return done.returncode == 0


if __name__ == "__main__":
    tolerate_output()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # Before the runtime, which heeds signals.
        report_error("interrupted before anything had begun", aloud=read_world().speaks)
        sys.exit(leave_exit_code(128 + signal.SIGINT))
