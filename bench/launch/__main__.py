"""Check a request, start accelerate with every setting stated, and pass signals on. No torch.

python -m bench.launch          the main job on all GPUs, or on the CPU with all its cores
NPROC=2 python -m bench.launch --models lenet5 --epochs 1
"""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil

from bench.distributed.hardware import num_cores, num_gpus
from bench.distributed.process import PLACE, RELAUNCH
from bench.distributed.variable import leave_world_above, prepare_environment
from bench.launch.check import check_request, complete, reserve_folder
from bench.launch.supervise import RUN, STARTER, supervise
from bench.request.command_line import parse, report_error, to_flags
from bench.request.config import RunConfig
from zoo.terminal import tolerate_output

DEFAULT_PORT = 29500  # torchrun's own, where several machines must know it
LAST_PORT = 65535
MOST_PROCESSES = 99_999  # and machines: more is a slip of the keyboard
# Without it accelerate reads the user's own, which may ask for DeepSpeed or for other GPUs.
SETTINGS_FILE = Path(__file__).with_name("accelerate.yaml")


@dataclass(frozen=True)
class Layout:
    """How many processes run where."""

    local_size: int
    num_machines: int
    machine_rank: int
    address: str
    port: int  # 0: any free one
    gpus: bool

    @property
    def world_size(self) -> int:
        return self.local_size * self.num_machines

    @property
    def uses_nccl(self) -> bool:
        """Return whether the ranks talk from GPU to GPU."""
        return self.gpus and self.world_size > 1


def main(argv: Sequence[str] | None = None) -> int:
    """Check a request, run it, and return its exit code: 0, 1, 2, 130 or 143."""
    prepare_environment()
    leave_world_above()
    try:
        layout = read_layout(os.environ)
        asked = parse(sys.argv[1:] if argv is None else argv)
        config = complete(asked)
        if config.world not in (None, layout.world_size):
            raise ValueError(
                f"--world {config.world}: NPROC and NNODES make {layout.world_size}; "
                f"set NPROC={config.world}"
            )
        check_request(config, world_size=layout.world_size)
        if asked.out is None and not asked.dry_run:
            config = reserve_folder(config)
    except ValueError as error:
        return report_error(error)

    command = partial(make_command, layout=layout)
    variables = make_environment(layout, os.environ)
    run = partial(supervise, machines=layout.num_machines, nccl=layout.uses_nccl)
    code = run(config, command, variables)
    # Later launches only measure, in fresh processes. After a failed cell (1) they still do.
    again, only_measure = replace(config, resume=True), variables | {RELAUNCH: "1"}
    for _ in range(1, config.launches):
        if code > 1:
            break
        code = run(again, command, only_measure)
    return code


def read_layout(variables: Mapping[str, str]) -> Layout:
    """Read NPROC, NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT, or Slurm's variables.

    ValueError names a variable that is wrong.
    """
    gpus = num_gpus(variables)
    num_machines = _read_number(variables, "NNODES", "SLURM_NNODES", default=1)
    machine_rank = _read_number(variables, "NODE_RANK", "SLURM_NODEID", default=0, least=0)
    local_size = _read_number(variables, "NPROC", default=max(1, gpus))
    if gpus and local_size > gpus:
        raise ValueError(
            f"NPROC={local_size}: this machine has {gpus} GPUs; "
            "to use the CPU set CUDA_VISIBLE_DEVICES="
        )
    if machine_rank >= num_machines:
        raise ValueError(f"NODE_RANK={machine_rank}: must be less than NNODES={num_machines}")

    is_single = num_machines == 1
    address = variables.get("MASTER_ADDR")
    if not address:
        address = "127.0.0.1" if is_single else _find_first_slurm_host(variables)
    if not address:
        raise ValueError(
            f"NNODES={num_machines}: set MASTER_ADDR, the address of the machine with NODE_RANK=0"
        )
    default_port = 0 if is_single else DEFAULT_PORT
    port = _read_number(variables, "MASTER_PORT", default=default_port, least=0, most=LAST_PORT)
    return Layout(local_size, num_machines, machine_rank, address, port, gpus > 0)


def make_command(config: RunConfig, layout: Layout) -> list[str]:
    """Return the command that starts the workers by accelerate.

    Nothing is left to accelerate's defaults or to a configuration file of the user's.
    """
    settings = {
        "config_file": SETTINGS_FILE,
        "num_processes": layout.world_size,
        "num_machines": layout.num_machines,
        "machine_rank": layout.machine_rank,
        "main_process_ip": layout.address,
        "main_process_port": layout.port,
        "mixed_precision": "no",
        "dynamo_backend": "no",
        "num_cpu_threads_per_process": max(1, num_cores() // layout.local_size),
    }
    if layout.num_machines > 1:
        # Machines wait for each other as long as ranks do; torchrun's own patience is ten minutes.
        settings["rdzv_conf"] = f"timeout={max(1, round(config.timeout))}"
    words = [sys.executable, "-m", STARTER]
    if layout.world_size > 1:
        # On a CPU too: accelerate starts several processes there only when it is told of several
        # GPUs by this flag, and of the CPU by a variable.
        words.append("--multi_gpu")
    elif not layout.gpus:
        words.append("--cpu")
    for name, value in settings.items():
        words += [f"--{name}", str(value)]
    return [*words, str(RUN), *to_flags(replace(config, world=layout.world_size))]


def make_environment(layout: Layout, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the workers' environment.

    Gloo uses the loopback interface on one machine, else the interface that leads to the first
    machine, unless GLOO_SOCKET_IFNAME is set.
    """
    # A launcher above this one may have left a place in its own world, which is none in this one.
    environment = {name: value for name, value in variables.items() if name not in PLACE}
    if not layout.gpus:
        environment["ACCELERATE_USE_CPU"] = "true"
    if layout.num_machines == 1:
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    elif "GLOO_SOCKET_IFNAME" not in variables:
        environment |= _find_interface(layout)
    return environment


def _find_interface(layout: Layout) -> dict[str, str]:
    """Name gloo the network interface that leads to the first machine; nothing if none is found.

    gloo itself would take the interface that this machine's own name resolves to, which is often
    the loopback.
    """
    try:
        places = socket.getaddrinfo(layout.address, layout.port, type=socket.SOCK_DGRAM)
        family, kind, _, _, place = places[0]
        with socket.socket(family, kind) as probe:
            # Connecting a datagram socket chooses the way and sends nothing.
            probe.connect(place)
            own_address = probe.getsockname()[0]
    except OSError:
        return {}
    for name, addresses in psutil.net_if_addrs().items():
        if own_address in [one.address for one in addresses]:
            return {"GLOO_SOCKET_IFNAME": name}
    return {}


def _read_number(
    variables: Mapping[str, str],
    *names: str,
    default: int,
    least: int = 1,
    most: int = MOST_PROCESSES,
) -> int:
    """Return the first of these variables that is set, as a whole number."""
    for name in names:
        given = variables.get(name)
        if given:
            # isdigit alone would let ² through, and Python reads no number of 5,000 digits.
            is_number = given.isascii() and given.isdigit() and len(given) <= len(str(most))
            if not is_number or not least <= int(given) <= most:
                raise ValueError(
                    f"{name}={given:.40}: must be a whole number, at least {least} and "
                    f"at most {most}"
                )
            return int(given)
    return default


def _find_first_slurm_host(variables: Mapping[str, str]) -> str:
    """Return the first host of a Slurm job, by Slurm's own tool; empty if there is none."""
    hosts = variables.get("SLURM_JOB_NODELIST")
    if not hosts:
        return ""
    # Only Slurm's tool can expand its notation, as in node[01-03,07].
    command = ["scontrol", "show", "hostnames", hosts]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return listed.stdout.split("\n", 1)[0]


if __name__ == "__main__":
    tolerate_output()
    sys.exit(main())
