"""A small local page that lists all runs, follows those that train, and opens their reports.

python -m reports serve runs/
python -m reports serve runs/ --port 8100

Loopback only, read only, standard library only. A run is found by its name in a list, so no path
can lead elsewhere.
"""

import argparse
import base64
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from bench.results.record import RunRecord
from bench.results.storage import read
from reports.runs import read_source
from reports.verdict_text import ENDINGS

HOST = "127.0.0.1"
FRESH_SECONDS = (
    900  # a cell that is `started` and was written longer ago has stopped without saying so
)
REFRESH_SECONDS = 5
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "th,td{text-align:left;padding:.4rem .8rem;border-bottom:1px solid #8886;vertical-align:top}"
    "th{font-weight:600}small{opacity:.8}svg{width:16rem;height:5rem;display:block}"
    "polyline{fill:none;stroke:currentColor;stroke-width:1.5}progress{width:10rem}"
)
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{STYLE_HASH}'"
)


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Its records, how many cells it will have, and how many files couldn't be read.
    """

    name: str
    folder: Path
    records: tuple[RunRecord, ...]
    num_cells: int
    num_faults: int
    written: float  # seconds since 1970 of the newest record

    @property
    def training(self) -> bool:
        """Whether a cell is at work."""
        started = any(record.status == "started" for record in self.records)
        return started and time.time() - self.written < FRESH_SECONDS

    @property
    def state(self) -> str:
        """The run's state in words."""
        bad = [record.status for record in self.records if record.status not in ("ok", "started")]
        done = sum(record.status == "ok" for record in self.records)
        text = f"{done} of {self.num_cells} cells"
        text += "".join(f", {bad.count(status)} {ENDINGS[status]}" for status in dict.fromkeys(bad))
        text += f", {self.num_faults} unreadable" if self.num_faults else ""
        return f"training: {text}" if self.training else text


def runs_in(root: Path) -> dict[str, Path]:
    """The runs' folders in `root` by name, newest name last.

    Links that lead out of `root` are left out.
    """
    inside = root.resolve()
    folders = sorted(child for child in root.iterdir() if (child / "cells").is_dir())
    return {folder.name: folder for folder in folders if folder.resolve().is_relative_to(inside)}


def progress_of(folder: Path) -> Progress:
    """Read how far a run is. Records that can't be read are counted."""
    paths = sorted((folder / "cells").glob("*/record.json"))
    records, faults, written = [], 0, 0.0
    for path in paths:
        try:
            changed = path.stat().st_mtime_ns
            records.append(_read(path, changed))
            written = max(written, changed / 1e9)
        except (OSError, ValueError):
            faults += 1
    return Progress(
        folder.name, folder, tuple(records), max(_num_cells(folder), len(paths)), faults, written
    )


@lru_cache(maxsize=4096)
def _read(path: Path, changed: int) -> RunRecord:
    """A record, read again only when its file has changed."""
    return read(path, RunRecord)


def _num_cells(folder: Path) -> int:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return len(config["models"]) * len(config.get("seeds") or [0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


def index_page(root: Path) -> str:
    """The list of all runs; it loads itself anew while one is training."""
    found = [progress_of(folder) for folder in runs_in(root).values()]
    found.sort(key=lambda run: -run.written)
    refresh = (
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
        if any(run.training for run in found)
        else ""
    )
    rows = "".join(_index_row(run) for run in found) or '<tr><td colspan="4">No run yet.</td></tr>'
    head = "<tr><th>Run</th><th>State</th><th>Now</th><th>Validation top-1 so far</th></tr>"
    return _page("Runs", f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>", refresh)


def _index_row(run: Progress) -> str:
    link = f'<a href="/run/{quote(run.name, safe="")}">{escape(run.name)}</a>'
    share = len([r for r in run.records if r.status != "started"]) / max(1, run.num_cells)
    bar = (
        f'<progress value="{share:.3f}" aria-label="cells done"></progress>' if run.training else ""
    )
    now = "<br>".join(
        escape(_cell_now(record)) for record in run.records if record.status == "started"
    )
    state, curve = escape(run.state), curve_svg(run.records)
    return f"<tr><th>{link}</th><td>{state}<br>{bar}</td><td>{now}</td><td>{curve}</td></tr>"


def _cell_now(record: RunRecord) -> str:
    if not record.epochs:
        return f"{record.cell}: begun"
    last = record.epochs[-1]
    top1 = f", {last.evaluation.top1:.1f} % on validation" if last.evaluation else ""
    return f"{record.cell}: epoch {last.epoch + 1}, {last.seconds:.0f} s, loss {last.train_loss:.2f}{top1}"


def _page(title: str, body: str, head: str = "") -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}<title>{escape(title)} · Zoometry</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )


def report_page(root: Path, name: str) -> str | None:
    """The report of a run: the one that was written, else one made now.

    None if there is no such run.
    """
    from reports.page import build_page

    folder = runs_in(root).get(name)
    if folder is None:
        return None
    written = folder / "report.html"
    newest = max(
        (path.stat().st_mtime for path in (folder / "cells").glob("*/record.json")), default=0.0
    )
    if written.is_file() and not written.is_symlink() and written.stat().st_mtime >= newest:
        return written.read_text(encoding="utf-8")
    try:
        return build_page(read_source([folder]))
    except ValueError as error:
        return _page(name, f"<p>{escape(str(error))}</p>")


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of the list and of reports; anything else is refused."""

    server_version = "Zoometry"
    sys_version = ""
    root: Path

    def do_GET(self) -> None:
        """Answer with the list, a report, or 404."""
        if not self._asked_by_this_machine():
            return self._send(403, _page("Forbidden", "<p>This page is for this machine only.</p>"))
        path = urlsplit(self.path).path
        if path == "/":
            return self._send(200, index_page(self.root), POLICY)
        report = (
            report_page(self.root, unquote(path.removeprefix("/run/")))
            if path.startswith("/run/")
            else None
        )
        if report is None:
            return self._send(
                404, _page("Not found", '<p>No such page. <a href="/">All runs</a></p>'), POLICY
            )
        return self._send(200, report)

    do_HEAD = do_GET  # noqa: N815

    def _asked_by_this_machine(self) -> bool:
        """Whether the host that was asked for is ours.

        A foreign name that points here is another page's trick.
        """
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        return host in (HOST, "localhost")

    def _send(self, status: int, page: str, policy: str = "") -> None:
        content = page.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: a page that refreshes would fill the terminal."""


def make_server(root: Path, port: int) -> ThreadingHTTPServer:
    """A server on the loopback; port 0 takes a free one.

    ValueError if the folder isn't there or the port is taken.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    try:
        return ThreadingHTTPServer((HOST, port), type("RootHandler", (Handler,), {"root": root}))
    except OSError as error:
        raise ValueError(
            f"--port {port}: can't listen ({error.strerror or error}); port 0 takes a free one"
        ) from error


def serve(arguments: Sequence[str]) -> None:
    """Serve until interrupted. ValueError for a wrong request."""
    parser = argparse.ArgumentParser(
        prog="python -m reports serve", description="List runs and open their reports."
    )
    parser.add_argument("root", type=Path, metavar="RUNS", help="the folder that holds the runs")
    parser.add_argument(
        "--port", type=int, default=8000, help="port on this machine (default: 8000; 0: a free one)"
    )
    options = parser.parse_args(arguments)
    with make_server(options.root, options.port) as server:
        print(f"runs: http://{HOST}:{server.server_address[1]}/  (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


WIDTH, HEIGHT = 160.0, 50.0


def curve_svg(records: Sequence[RunRecord]) -> str:
    """One line a cell: validation top-1 over training time; empty without two evaluations."""
    curves = [
        [(e.seconds, e.evaluation.top1) for e in record.epochs if e.evaluation]
        for record in records
    ]
    curves = [curve for curve in curves if len(curve) > 1]
    if not curves:
        return ""
    longest = max(x for curve in curves for x, _ in curve) or 1.0
    highest = max(y for curve in curves for _, y in curve) or 1.0
    lines = "".join(f'<polyline points="{_points(curve, longest, highest)}"/>' for curve in curves)
    label = f"{len(curves)} curves, highest {highest:.1f} %"
    box = f"0 0 {WIDTH:.0f} {HEIGHT:.0f}"
    return (
        f'<svg viewBox="{box}" role="img" aria-label="{label}">{lines}</svg><small>{label}</small>'
    )


def _points(curve: Sequence[tuple[float, float]], longest: float, highest: float) -> str:
    return " ".join(f"{WIDTH * x / longest:.1f},{HEIGHT * (1 - y / highest):.1f}" for x, y in curve)
