"""What launch.sh starts. No torch: checks the request, starts accelerate with every setting stated, passes signals on.

python -m bench.launch                      the main job on all GPUs, or on the CPU with all its cores
NPROC=2 python -m bench.launch --models lenet5 --epochs 1
"""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import psutil

from bench.distributed.process import RELAUNCH, num_cores, num_gpus
from bench.launch.check import check_request, complete
from bench.launch.supervise import RUN, supervise
from bench.request.command_line import complain, parse, to_flags
from bench.request.config import RunConfig


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
    start = partial(command, layout=layout)
    variables, machines = environment(layout, os.environ), layout.num_machines
    code = supervise(config, start, variables, machines=machines)
    for _ in range(1, config.launches):
        if code > 1:
            break
        code = supervise(
            replace(config, resume=True), start, variables | {RELAUNCH: "1"}, machines=machines
        )
    return code


def layout_of(variables: Mapping[str, str]) -> Layout:
    """Read NPROC, NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT, or what Slurm says.

    ValueError names a wrong one.
    """
    gpus = num_gpus(variables)
    num_machines = _number(variables, "NNODES", "SLURM_NNODES", default=1)
    machine_rank = _number(variables, "NODE_RANK", "SLURM_NODEID", default=0, least=0)
    local_size = _number(variables, "NPROC", default=max(1, gpus))
    if gpus and local_size > gpus:
        raise ValueError(
            f"NPROC={local_size}: this machine has {gpus} GPUs; to use the CPU say CUDA_VISIBLE_DEVICES="
        )
    if machine_rank >= num_machines:
        raise ValueError(f"NODE_RANK={machine_rank}: must be less than NNODES={num_machines}")
    address = variables.get("MASTER_ADDR") or (
        _first_slurm_host(variables) if num_machines > 1 else "127.0.0.1"
    )
    if num_machines > 1 and not address:
        raise ValueError(
            f"NNODES={num_machines}: say MASTER_ADDR, the address of the machine with NODE_RANK=0"
        )
    port = _number(variables, "MASTER_PORT", default=29500 if num_machines > 1 else 0, least=0)
    return Layout(local_size, num_machines, machine_rank, address, port, gpus > 0)


def command(config: RunConfig, layout: Layout) -> list[str]:
    """Write the command line of accelerate.

    Nothing is left to its defaults or to a configuration of the user's.
    """
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
    # accelerate starts several processes on a CPU only when told of several GPUs and of the CPU at
    # once. Machines wait for each other as long as ranks do; torchrun's own patience is ten
    # minutes.
    patience = (
        ["--rdzv_conf", f"timeout={max(1, round(config.timeout))}"]
        if layout.num_machines > 1
        else []
    )
    kind = ["--multi_gpu"] if layout.world_size > 1 else [] if layout.gpus else ["--cpu"]
    flags = [word for name, value in stated.items() for word in (f"--{name}", str(value))]
    return [
        *launcher,
        *kind,
        *flags,
        *patience,
        str(RUN),
        *to_flags(replace(config, world=layout.world_size)),
    ]


def environment(layout: Layout, variables: Mapping[str, str]) -> dict[str, str]:
    """The workers' environment.

    Gloo stays on the loopback interface of one machine, or takes the way to the first.
    """
    extra = {} if layout.gpus else {"ACCELERATE_USE_CPU": "true"}
    if layout.num_machines == 1:
        extra["GLOO_SOCKET_IFNAME"] = "lo"
    elif "GLOO_SOCKET_IFNAME" not in variables:
        extra |= _interface_to(layout)
    # What a launcher above this one left behind would be taken for this world's.
    lost = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    return {k: v for k, v in variables.items() if k not in lost} | extra


def _interface_to(layout: Layout) -> dict[str, str]:
    """Name gloo the network interface by which the first machine is reached; nothing where that can't be told.

    gloo itself would take the one that this machine's own name resolves to, which is often the
    loopback.
    """
    try:
        family, kind, *_, place = socket.getaddrinfo(
            layout.address, layout.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(place)  # of a datagram socket: asks for the way, sends nothing
            own = probe.getsockname()[0]
    except OSError:
        return {}
    names = [
        name
        for name, places in psutil.net_if_addrs().items()
        if own in [one.address for one in places]
    ]
    return {"GLOO_SOCKET_IFNAME": names[0]} if names else {}


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
        listed = subprocess.run(
            ["scontrol", "show", "hostnames", hosts], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return listed.stdout.split("\n", 1)[0]


if __name__ == "__main__":
    sys.exit(main())
