"""How worlds end and what follows.

Oracle: small scripts in the launcher's place, which die as they are told to.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.distributed.process import BROKEN, EXIT_FILE, FAILURES_FILE, GIVEN_UP, count_oom_kills
from bench.launch import supervise as module
from bench.launch.check import complete
from bench.launch.supervise import RUN, supervise
from bench.request.command_line import parse
from bench.request.config import RunConfig, to_json
from bench.results.record import RunRecord
from bench.results.storage import read, write, write_json
from tests.support.record_factory import ZOO, failed
from tests.support.record_factory import record as make_record

ROOT = Path(__file__).parent.parent


def reports(*, never_met: bool = False, **exit_codes: int) -> str:
    """A script that fails, and says how as start_accelerate does; ranks are named rank_0, …"""
    codes = {name.removeprefix("rank_"): code for name, code in exit_codes.items()}
    report = json.dumps({"exit_codes": codes, "never_met": never_met})
    return (
        f"import os, sys; open(os.environ[{FAILURES_FILE!r}], 'w').write({report!r}); sys.exit(1)"
    )


def died_of(number: signal.Signals) -> str:
    """A script whose only worker died of a signal."""
    return reports(rank_0=-number)


def leaves(note: str) -> str:
    return f"import os; open(os.environ[{EXIT_FILE!r}], 'w').write({note!r})"


def scripts(
    *bodies: str, seen: list[RunConfig] | None = None
) -> Callable[[RunConfig], Sequence[str]]:
    """Make worlds of scripts: the first world runs the first one."""
    left = list(bodies)

    def command(config: RunConfig) -> Sequence[str]:
        if seen is not None:
            seen.append(config)
        return [sys.executable, "-c", left.pop(0), str(RUN)]

    return command


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A run that has begun: lenet5 is under way, its neighbour is done."""
    asked = replace(parse(["--recipe", "smoke", "--restarts", "0"]), out=tmp_path / "run")
    folder = tmp_path / "run"
    write_json(folder / "config.json", to_json(asked))
    for record in (failed(ZOO[0], "started"), make_record(ZOO[3])):
        write(folder / "cells" / record.cell / "record.json", record)
    return asked


@pytest.fixture(autouse=True)
def _leave_pytest_alone(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give signals back after each test, and adopt nobody else's orphans."""
    monkeypatch.setattr(module, "adopt_orphans", lambda: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def cell(config: RunConfig) -> RunRecord:
    assert config.out is not None
    return read(config.out / "cells" / "lenet5-s0" / "record.json", RunRecord)


@pytest.mark.parametrize("code", [0, 1, 2, 130, 143])
def test_an_exit_code_that_the_workers_leave_is_the_runs(config: RunConfig, code: int) -> None:
    assert supervise(config, scripts(leaves(str(code))), os.environ) == code


def test_a_kill_by_a_person_ends_the_run_with_the_way_on(
    config: RunConfig, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "count_oom_kills", lambda: 7)
    assert supervise(config, scripts(died_of(signal.SIGKILL)), os.environ) == 1
    said = capfd.readouterr().err
    assert said.startswith(
        "zoometry: rank 0 died of SIGKILL; interrupted: 1 of 2 cells are finished"
    )
    assert "--resume" in said
    assert len(said.splitlines()) == 1
    assert cell(config).status == "started"


def test_restarts_go_on_with_the_run_as_often_as_was_said(config: RunConfig) -> None:
    seen: list[RunConfig] = []
    worlds = (
        died_of(signal.SIGKILL),
        leaves(f"{BROKEN} rank 1 of 2 no longer answers"),
        leaves("0"),
    )
    assert supervise(replace(config, restarts=2), scripts(*worlds, seen=seen), os.environ) == 0
    assert [one.resume for one in seen] == [False, True, True]
    assert supervise(replace(config, restarts=1), scripts(*worlds), os.environ) == 1


@pytest.mark.parametrize(
    ("number", "counts", "status", "cause"),
    [
        (
            signal.SIGKILL,
            [7, 8, 8, 8],
            "oom",
            "rank 0 ran out of memory and was killed by the kernel",
        ),
        (signal.SIGSEGV, [7, 7, 7, 7], "failed", "rank 0 died of SIGSEGV"),
    ],
)
def test_a_cell_that_breaks_its_world_is_a_row_and_the_next_world_passes_it_over(
    config: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    counts: list[int],
    status: str,
    cause: str,
) -> None:
    monkeypatch.setattr(module, "count_oom_kills", lambda: counts.pop(0))
    passes_over = f"import os, sys; sys.exit(0 if os.environ[{GIVEN_UP!r}] == 'lenet5-s0' else 9)"
    assert supervise(config, scripts(died_of(number), passes_over), os.environ) == 0
    assert (cell(config).status, cell(config).error) == (status, cause)


def test_where_the_kernel_does_not_count_the_second_kill_at_one_place_is_memory(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "count_oom_kills", lambda: None)
    worlds = scripts(died_of(signal.SIGKILL), died_of(signal.SIGKILL), leaves("1"))
    assert supervise(replace(config, restarts=1), worlds, os.environ) == 1
    assert cell(config).status == "oom"


ABORTED = died_of(signal.SIGABRT)
TOLD = f"{leaves(f'{BROKEN} rank 1 of 2 no longer answers')}; {ABORTED}"


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (ABORTED, "rank 0 died of SIGABRT, by which NCCL ends a call that isn't answered"),
        (TOLD, "rank 1 of 2 no longer answers"),
    ],
)
def test_an_abort_by_nccl_is_a_broken_world_and_no_crash_of_the_cell(
    config: RunConfig, capfd: pytest.CaptureFixture[str], body: str, cause: str
) -> None:
    """torch's documents: its watchdog ends a process whose collective call is timed out."""
    assert supervise(config, scripts(body), os.environ, nccl=True) == 1
    assert capfd.readouterr().err.startswith(f"zoometry: {cause}; interrupted: ")
    assert cell(config).status == "started"
    worlds = scripts(body, leaves("0"))
    assert supervise(replace(config, restarts=1), worlds, os.environ, nccl=True) == 0


def test_the_second_abort_at_one_place_is_the_cells_own(config: RunConfig) -> None:
    worlds = scripts(ABORTED, ABORTED, leaves("0"))
    assert supervise(replace(config, restarts=1), worlds, os.environ, nccl=True) == 0
    assert cell(config).status == "failed"


def test_where_there_is_no_nccl_an_abort_is_a_crash(config: RunConfig) -> None:
    assert supervise(config, scripts(ABORTED, leaves("0")), os.environ) == 0
    assert cell(config).status == "failed"


def test_a_stopped_process_of_a_broken_world_is_not_waited_for(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "STRAGGLER_SECONDS", 0.5)
    stops = f"import os; os.kill(os.getpid(), {int(signal.SIGSTOP)})"
    starts = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stops!r}, {str(RUN)!r}])"
    )
    world = f"{leaves(f'{BROKEN} rank 1 of 2 no longer answers')}; {starts}"
    began, others = time.monotonic(), set(psutil.Process().children(recursive=True))
    assert supervise(config, scripts(world), os.environ) == 1
    assert time.monotonic() - began < 20
    assert "rank 1 of 2 no longer answers; interrupted" in capfd.readouterr().err
    assert not set(psutil.Process().children(recursive=True)) - others


def test_a_supervisor_killed_outright_takes_its_launcher_along(config: RunConfig) -> None:
    body = f"""
import os, sys
from bench.launch.supervise import supervise
from bench.request.command_line import read_request
from pathlib import Path
from dataclasses import replace
config = replace(read_request(Path({str(config.out)!r})), out=Path({str(config.out)!r}))
body = "print('here', flush=True); import time; time.sleep(60)"
supervise(config, lambda config: [sys.executable, "-c", body], os.environ)
"""
    above = subprocess.Popen(
        [sys.executable, "-c", body], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert above.stdout is not None
    assert above.stdout.readline() == "here\n"
    (below,) = psutil.Process(above.pid).children()
    above.kill()
    above.wait()
    above.stdout.close()
    below.wait(timeout=5)  # raises where it is still there


def test_machines_that_do_not_meet_are_said_in_one_line(
    config: RunConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    body = reports(never_met=True)
    assert supervise(config, scripts(body), os.environ, machines=2) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "the 2 machines have not met within 60 s (--timeout)" in line


def test_a_tracebacks_own_lines_reach_the_user(
    config: RunConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    assert supervise(config, scripts("raise RuntimeError('of a worker')"), os.environ) == 1
    said = capfd.readouterr().err
    assert "RuntimeError: of a worker" in said
    assert "Traceback" in said


def test_a_world_that_torchrun_starts_again_goes_on(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not complete(config).resume
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert complete(config).resume


def test_the_rank_that_died_is_named_and_not_those_that_torchrun_ended_then(
    config: RunConfig, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "count_oom_kills", lambda: 7)
    world = reports(rank_0=1, rank_1=-signal.SIGKILL, rank_2=-signal.SIGTERM)
    assert supervise(config, scripts(world), os.environ) == 1
    assert "zoometry: rank 1 died of SIGKILL; interrupted" in capfd.readouterr().err


def start(place: Path, words: Sequence[str], script: str) -> tuple[dict[str, Any], str]:
    """Start a script by accelerate; return what is reported of its end, and its standard error."""
    (place / "script.py").write_text(script)
    report = place / "failures.json"
    done = subprocess.run(
        [sys.executable, "-m", module.STARTER, *words, str(place / "script.py")],
        env=os.environ | {FAILURES_FILE: str(report), "TORCH_CPP_LOG_LEVEL": "FATAL"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return json.loads(report.read_text()), done.stderr


ONE = ["--cpu", "--num_processes", "1"]
TWO = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
STATED = ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]


@pytest.mark.distributed
@pytest.mark.parametrize(("words", "rank"), [(ONE, "0"), (TWO, "1")], ids=["one", "two"])
@pytest.mark.ci
def test_what_accelerate_raises_is_reported_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], rank: str
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    dies = f"import os, time\nif os.environ.get('RANK', '0') == '{rank}': os.kill(os.getpid(), 9)\n"
    report, said = start(tmp_path, [*words, *STATED], dies + "time.sleep(60)")
    assert report["exit_codes"][rank] == -signal.SIGKILL
    assert not report["never_met"]
    assert said == ""
    report, said = start(tmp_path, [*words, *STATED], "import sys; sys.exit('of a worker')")
    assert report["exit_codes"][rank] == 1
    assert said.startswith("of a worker\n")


@pytest.mark.parametrize(
    ("groups", "file", "content"),
    [
        (
            "0::/a/b",
            "sys/fs/cgroup/a/b/memory.events",
            "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n",
        ),
        ("0::/of/the/host", "sys/fs/cgroup/memory.events", "oom 4\noom_kill 3\n"),
        (
            "4:memory:/a\n0::/",
            "sys/fs/cgroup/memory/a/memory.oom_control",
            "under_oom 0\noom_kill 3\n",
        ),
        ("0::/", "proc/vmstat", "nr_free_pages 5\noom_kill 3\n"),
    ],
    ids=["version 2", "in a container", "version 1", "the machine"],
)
def test_the_kernels_count_is_found_in_every_layout(
    tmp_path: Path, groups: str, file: str, content: str
) -> None:
    for path, text in (("proc/self/cgroup", groups + "\n"), (file, content)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert count_oom_kills(tmp_path) == 3
    (tmp_path / file).unlink()
    assert count_oom_kills(tmp_path) is None


def test_a_damaged_record_is_left_to_the_workers_to_name(config: RunConfig) -> None:
    assert config.out is not None
    (config.out / "cells" / "lenet5-s0" / "record.json").write_text("{")
    assert supervise(config, scripts(leaves("2")), os.environ) == 2


def test_a_process_that_has_ended_is_no_cause_to_fail() -> None:
    """psutil's own race: listed, then gone, then signalled."""
    process = subprocess.Popen(["sleep", "60"])
    listed = psutil.Process(process.pid)
    process.kill()
    process.wait()
    module._send(listed, signal.SIGTERM)


def test_a_signal_before_there_is_a_launcher_reaches_it() -> None:
    signals = module.Signals()
    signals.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received == [signal.SIGTERM]
    began = time.monotonic()
    end = module.run_world(
        [sys.executable, "-c", "import time; time.sleep(60)"], os.environ, signals
    )
    assert end.code is None
    assert time.monotonic() - began < 30


def test_two_starts_in_one_second_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.launch import check

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check.time, "strftime", lambda form: "20261125-120000-smoke")
    asked = parse(["--recipe", "smoke"])
    both = [check.reserve_folder(complete(asked)).out for _ in range(2)]
    named = complete(asked).out
    # A start that has chosen the same name before the other made its folder.
    third = check.reserve_folder(complete(asked)).out
    assert both == [Path("runs/20261125-120000-smoke"), Path("runs/20261125-120000-smoke-2")]
    assert named == third == Path("runs/20261125-120000-smoke-3")
