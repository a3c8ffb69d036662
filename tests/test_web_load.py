"""The page's server under load and beside slow or broken clients, as a process of its own.

Oracle: every answer is the first one; resident memory as Linux counts it.
"""

import http.client
import io
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.support.trained_run import open_context, write_cell

USERS, SECONDS = 30, 60
MOST_GROWTH = 40_000_000  # bytes: what allocators keep of 30 users' pictures


@pytest.fixture
def server(tmp_path: Path, tiny_data: Any, runtime: Any) -> Iterator[tuple[int, psutil.Process]]:
    context = open_context(tmp_path / "run", tiny_data, runtime)
    write_cell(context, "lenet5")
    command = [sys.executable, "-P", "-m", "bench.serve", str(context.folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield int(line.split("127.0.0.1:")[1].split("/")[0]), psutil.Process(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def photograph() -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


def ask(port: int, content: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/predict", content, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.slow
def test_thirty_users_at_once_are_answered_without_an_error_or_growth(
    server: tuple[int, psutil.Process], capsys: pytest.CaptureFixture[str]
) -> None:
    port, process = server
    content = photograph()

    def use(until: float) -> list[float]:
        times = []
        while time.monotonic() < until:
            start = time.monotonic()
            status, _ = ask(port, content)
            assert status == 200
            times.append(time.monotonic() - start)
        return times

    with ThreadPoolExecutor(USERS) as users:
        list(users.map(use, [time.monotonic() + 5] * USERS))
        before = process.memory_info().rss
        times = np.concatenate(list(users.map(use, [time.monotonic() + SECONDS] * USERS)))
    grown = process.memory_info().rss - before
    with capsys.disabled():
        print(
            f"\n{USERS} users, {SECONDS} s: {len(times)} answers, p50 "
            f"{1000 * np.median(times):.0f} ms, p95 {1000 * np.quantile(times, 0.95):.0f} ms, "
            f"{before / 1e6:.0f} MB and {grown / 1e6:+.1f} MB"
        )
    assert grown < MOST_GROWTH


@pytest.mark.slow
def test_slow_and_broken_clients_leave_the_server_answering(
    server: tuple[int, psutil.Process],
) -> None:
    port, _ = server
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
    beginnings = [
        head + b"Content-Length: 1000\r\n\r\n\xff\xd8",
        head + b"Content-Length: x\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /" + b"a" * 100_000,
        b"",
    ]
    held = []
    for beginning in beginnings:
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(beginning)
        held.append(client)
    assert ask(port, photograph())[0] == 200
    held[0].settimeout(30)
    assert held[0].recv(1000).startswith(b"HTTP/1.1 408")
    for client in held:
        client.close()
    assert ask(port, photograph())[0] == 200
