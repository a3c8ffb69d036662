"""Open a page that says what is on a picture, by models of a run or by exported files.

python -m bench.serve runs/quick
python -m bench.serve runs/quick --model lenet5 resnet18
python -m bench.serve --onnx lenet5.onnx

Drop, paste or choose a picture; up to four models answer side by side. Other programs ask by
`POST /predict` (docs/deploy.md). It listens on the loopback alone and stores nothing. Needs the
extra `serve`.
"""

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.deploy.parser import make_parser
from bench.deploy.sample import read_samples
from bench.deploy.served_model import list_models
from bench.request.command_line import report_error
from zoo.extra import need
from zoo.terminal import show, tolerate_output

HOST = "127.0.0.1"
PORT = 8080
NUM_PORTS = 20  # tried one after another, from the one that was asked for
LARGEST_PORT = 65535
MAX_CONNECTIONS = 200  # further ones are told to come again


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns 0, or 2 for a wrong request."""
    options = _parse(argv)
    try:
        uvicorn = need("uvicorn", "serve")
        need("starlette", "serve")
        from bench.deploy.web import make_app

        models = list_models(options.run, options.onnx, options.model, options.seed)
        app = make_app(models, read_samples(options.run))
        library = models[0].opened().predictor.library
        listener = listen(options.port)
    except ValueError as error:
        return report_error(error)
    port = listener.getsockname()[1]
    if port != options.port and options.port:
        show(f"port {options.port} is in use; this takes {port}")
    others = f" and {len(models) - 1} more" if len(models) > 1 else ""
    show(f"{models[0].title} ({library}){others}: http://{HOST}:{port}/  (Ctrl-C stops)")
    config = uvicorn.Config(
        app,
        log_level="error",
        lifespan="off",
        ws="none",
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=2,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        # uvicorn has shut down in order, and passes the signal on.
        print()
    return 0


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("bench.serve", __doc__)
    parser.add_argument("run", nargs="*", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument(
        "--onnx", nargs="+", type=Path, default=[], metavar="FILE", help="exported files"
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="NAME",
        help="models of the runs (default: all, the best on validation first)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="their seed (default: the best)")
    parser.add_argument(
        "--port",
        type=int,
        default=PORT,
        help=f"the port to listen on (default: {PORT}, or the next that is free; 0 takes any)",
    )
    return parser.parse_args(words)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on the loopback, on a port or the next that is free.

    ValueError where there is none.
    """
    if not 0 <= port <= LARGEST_PORT:
        raise ValueError(f"--port {port}: choose from 0 to {LARGEST_PORT}; 0 takes a free one")
    last = min(port + NUM_PORTS - 1, LARGEST_PORT)
    for each in range(port, last + 1):
        listener = socket.socket()
        # A server that has just ended leaves its port waiting for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, each))
            # Now, not when the server runs: until then another could bind the same port, and who
            # reads the address and asks at once would be refused.
            listener.listen()
            return listener
        except OSError:
            listener.close()
    raise ValueError(f"--port {port}: no port up to {last} is free; --port 0 takes any")


if __name__ == "__main__":
    tolerate_output()
    sys.exit(main())
