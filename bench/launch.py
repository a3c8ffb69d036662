"""What launch.sh starts. No torch: checks the request, starts accelerate with every setting stated, passes signals on.

python -m bench.launch                      the main job on all GPUs, or on the CPU with all its cores
NPROC=2 python -m bench.launch --models lenet5 --epochs 1
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import psutil

from bench.config import RunConfig, complain, parse, to_flags
from bench.request import check_request, complete
from bench.world import EXIT_FILE, RELAUNCH, die_with_parent, num_cores, num_gpus

RUN = Path(__file__).with_name("run.py")


@dataclass(frozen=True)
class Layout:
    """How many processes run where."""

    local_size: int
    num_machines: int
    machine_rank: int
    address: str
    port: int
    gpus: bool

    @property
    def world_size(self) -> int:
        return self.local_size * self.num_machines


def main(argv: Sequence[str] | None = None) -> int:
    """Check, start, wait; the exit code is that of the run: 0, 1, 2, 130 or 143."""
    try:
        layout = layout_of(os.environ)
        config = complete(parse(sys.argv[1:] if argv is None else argv))
        if config.world not in (None, layout.world_size):
            raise ValueError(
                f"--world {config.world}: NPROC and NNODES make {layout.world_size}; say NPROC={config.world}"
            )
        check_request(config, world_size=layout.world_size)
    except ValueError as error:
        return complain(error)
    code = supervise(command(config, layout), environment(layout, os.environ))
    again = command(replace(config, resume=True), layout)
    for _ in range(1, config.launches):
        if code > 1:
            break
        code = supervise(again, environment(layout, os.environ) | {RELAUNCH: "1"})
    return code


def layout_of(variables: Mapping[str, str]) -> Layout:
    """Read NPROC, NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT, or what Slurm says. ValueError names a wrong one."""
    gpus = num_gpus(variables)
    num_machines = _number(variables, "NNODES", "SLURM_NNODES", default=1)
    machine_rank = _number(variables, "NODE_RANK", "SLURM_NODEID", default=0, least=0)
    local_size = _number(variables, "NPROC", default=max(1, gpus))
    if gpus and local_size > gpus:
        raise ValueError(f"NPROC={local_size}: this machine has {gpus} GPUs; to use the CPU say CUDA_VISIBLE_DEVICES=")
    if machine_rank >= num_machines:
        raise ValueError(f"NODE_RANK={machine_rank}: must be less than NNODES={num_machines}")
    address = variables.get("MASTER_ADDR") or (_first_slurm_host(variables) if num_machines > 1 else "127.0.0.1")
    if num_machines > 1 and not address:
        raise ValueError(f"NNODES={num_machines}: say MASTER_ADDR, the address of the machine with NODE_RANK=0")
    port = _number(variables, "MASTER_PORT", default=29500 if num_machines > 1 else 0, least=0)
    return Layout(local_size, num_machines, machine_rank, address, port, gpus > 0)


def command(config: RunConfig, layout: Layout) -> list[str]:
    """Write the command line of accelerate: nothing is left to its defaults or to a configuration of the user's."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch"]
    stated = {
        "num_processes": layout.world_size,
        "num_machines": layout.num_machines,
        "machine_rank": layout.machine_rank,
        "main_process_ip": layout.address,
        "main_process_port": layout.port,
        "mixed_precision": "no",
        "dynamo_backend": "no",
        "num_cpu_threads_per_process": max(1, num_cores() // layout.local_size),
    }
    # accelerate starts several processes on a CPU only when told of several GPUs and of the CPU at once.
    kind = ["--multi_gpu"] if layout.world_size > 1 else [] if layout.gpus else ["--cpu"]
    flags = [word for name, value in stated.items() for word in (f"--{name}", str(value))]
    return [*launcher, *kind, *flags, str(RUN), *to_flags(replace(config, world=layout.world_size))]


def environment(layout: Layout, variables: Mapping[str, str]) -> dict[str, str]:
    """The workers' environment; on one machine gloo stays on the loopback interface."""
    extra = {} if layout.gpus else {"ACCELERATE_USE_CPU": "true"}
    if layout.num_machines == 1:
        extra["GLOO_SOCKET_IFNAME"] = "lo"
    # What a launcher above this one left behind would be taken for this world's.
    lost = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    return {k: v for k, v in variables.items() if k not in lost} | extra


def supervise(words: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run the command in a session of its own, hand signals to the workers, and return the exit code that they left."""
    with tempfile.TemporaryDirectory(prefix="zoometry-") as folder:
        exit_file = Path(folder) / "exit"
        launcher = subprocess.Popen(
            words, env={**variables, EXIT_FILE: str(exit_file)}, start_new_session=True, preexec_fn=die_with_parent
        )
        received: list[int] = []

        def pass_on(signum: int, _frame: FrameType | None) -> None:
            received.append(signum)
            _signal_workers(launcher.pid, signum if len(received) == 1 else signal.SIGKILL)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, pass_on)
        code = launcher.wait()
        if exit_file.exists():
            return int(exit_file.read_text(encoding="ascii"))
    if received:
        return 128 + received[0]
    if code:
        sys.stderr.write("zoometry: a process of the run died; what was finished is kept, --resume --out goes on\n")
    return 1 if code else 0


def _signal_workers(launcher: int, signum: int) -> None:
    """Signal the processes that run bench/run.py below the launcher; before there are any, the launcher itself.

    accelerate ends at SIGTERM and leaves its child running without a word, so it is passed over.
    """
    below = psutil.Process(launcher).children(recursive=True)
    workers = [process for process in below if _runs(process)]
    for process in workers or [psutil.Process(launcher)]:
        process.send_signal(signum)


def _runs(process: psutil.Process) -> bool:
    try:
        return str(RUN) in process.cmdline()
    except psutil.Error:
        return False


def _number(variables: Mapping[str, str], *names: str, default: int, least: int = 1) -> int:
    """The first of these variables that is set, as a whole number."""
    for name in names:
        given = variables.get(name)
        if given:
            if not given.isdigit() or int(given) < least:
                raise ValueError(f"{name}={given}: must be a whole number, at least {least}")
            return int(given)
    return default


def _first_slurm_host(variables: Mapping[str, str]) -> str:
    """The first host of a Slurm job, by Slurm's own tool; empty where there is none."""
    hosts = variables.get("SLURM_JOB_NODELIST")
    if not hosts:
        return ""
    try:
        listed = subprocess.run(["scontrol", "show", "hostnames", hosts], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return listed.stdout.split("\n", 1)[0]


if __name__ == "__main__":
    sys.exit(main())
