"""Serve a small local page that lists all runs, follows those in training, and opens their reports.

python -m reports serve runs/
python -m reports serve runs/ --port 8100

It listens on the loopback only and writes nothing. A run is looked up by its name in a list, so no
path in a request can lead out of the folder.
"""

import argparse
import base64
import hashlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from reports.progress import HEIGHT, WIDTH, ProgressReader, list_runs
from reports.runs import encode_page, read_source
from zoo.terminal import show

HOST = "127.0.0.1"
REFRESH_SECONDS = 5
PATIENCE_SECONDS = 15  # for a client that has connected and says nothing, or doesn't read
LARGEST_PORT = 65535
# What a run brings may be anybody's: its page has an origin of its own there, from which it can
# read neither the list nor another run. The page carries the rest of its policy itself.
RUN_POLICY = "sandbox allow-scripts allow-downloads; frame-ancestors 'none'"


def index_page(reader: ProgressReader) -> str:
    """Return the list of all runs; it reloads itself as long as one is in training."""
    runs = reader.read_all()
    refresh = REFRESH_SECONDS if any(run.is_training for run in runs) else None
    return _render("Runs", runs=runs, refresh=refresh)


def message_page(title: str, message: str, *, link: bool = False) -> str:
    """Return a page that says one thing, with a link to the list if asked for."""
    return _render(title, message=message, link=link)


def _render(title: str, **parts: Any) -> str:
    blank: dict[str, Any] = {"runs": [], "refresh": None, "message": "", "link": False}
    chart = {"width": WIDTH, "height": HEIGHT}
    return _template().render(blank | chart | parts, title=title, style=_style())


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("runs.html.j2")


@cache
def _style() -> str:
    return (files("reports") / "templates" / "runs.css").read_text(encoding="utf-8")


@cache
def content_policy() -> str:
    """Return the list's content security policy: our own style by its hash, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"style-src 'sha256-{digest}'"
    )


def report_page(root: Path, name: str) -> bytes | None:
    """Return a run's report: the one written beside it, or one made now if that is out of date.

    None if there is no such run.
    """
    # Here, because the page's charts take a second to import and the list needs none.
    from reports.page import build_page

    folder = list_runs(root).get(name)
    if folder is None:
        return None
    report = folder / "report.html"
    try:
        changed = [path.stat().st_mtime for path in (folder / "cells").glob("*/record.json")]
        is_own_file = report.is_file() and not report.is_symlink()  # a link could lead anywhere
        if is_own_file and report.stat().st_mtime >= max(changed, default=0.0):
            return report.read_bytes()
        return encode_page(build_page(read_source([folder])))
    except (ValueError, OSError) as error:
        return encode_page(message_page(name, str(error)))


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the list and the reports, and refuses everything else."""

    server_version = "Zoometry"
    sys_version = ""
    timeout = PATIENCE_SECONDS
    reader: ProgressReader

    def do_GET(self) -> None:
        """Answer with the list, a report, or 404."""
        if not self._is_for_this_host():
            page = message_page("Forbidden", "This page is for this machine only.")
            return self._send(403, encode_page(page), content_policy())
        path = urlsplit(self.path).path
        if path == "/":
            return self._send(200, encode_page(index_page(self.reader)), content_policy())
        report = None
        if path.startswith("/run/"):
            # A folder's name is bytes, which need not be text.
            name = os.fsdecode(unquote_to_bytes(path.removeprefix("/run/")))
            report = report_page(self.reader.root, name)
        if report is None:
            page = message_page("Not found", "No such page.", link=True)
            return self._send(404, encode_page(page), content_policy())
        return self._send(200, report, RUN_POLICY)

    do_HEAD = do_GET  # noqa: N815

    def _is_for_this_host(self) -> bool:
        """Return whether the request was made for our own name, and for no other.

        A foreign name that resolves to the loopback is DNS rebinding: another site's script that
        wants to read what only this machine may see.
        """
        hosts = self.headers.get_all("Host") or [""]
        return len(hosts) == 1 and hosts[0].rsplit(":", 1)[0] in (HOST, "localhost")

    def _send(self, status: int, content: bytes, policy: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: a page that reloads itself would fill the terminal."""


class Server(ThreadingHTTPServer):
    """A server to which a client that hangs up is no fault."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a traceback of our own faults alone."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def make_server(root: Path, port: int) -> ThreadingHTTPServer:
    """Return a server on the loopback; port 0 takes a free one.

    Raise ValueError if the folder doesn't exist or the port can't be used.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    if not 0 <= port <= LARGEST_PORT:
        raise ValueError(f"--port {port}: choose from 0 to {LARGEST_PORT}; 0 takes a free one")
    # http.server makes a handler for each request itself, so the reader must be its class's.
    handler = type("RootHandler", (Handler,), {"reader": ProgressReader(root)})
    try:
        return Server((HOST, port), handler)
    except OSError as error:
        raise ValueError(
            f"--port {port}: can't listen ({error.strerror or error}); --port 0 takes a free one"
        ) from error


def serve(arguments: Sequence[str]) -> None:
    """Serve until interrupted. Raise ValueError for a wrong request."""
    parser = argparse.ArgumentParser(
        prog="python -m reports serve", description="List runs and open their reports."
    )
    parser.add_argument("root", type=Path, metavar="RUNS", help="the folder that holds the runs")
    parser.add_argument(
        "--port",
        type=int,
        default=8000,
        help="the port to listen on (default: 8000; 0 takes a free one)",
    )
    options = parser.parse_args(arguments)
    with make_server(options.root, options.port) as server:
        show(f"runs: http://{HOST}:{server.server_address[1]}/  (Ctrl-C stops)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
