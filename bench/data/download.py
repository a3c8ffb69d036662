"""Official archives fetched by torchvision's own downloaders, or given up soon and aloud."""

import fcntl
import socket
import threading
import time
import urllib.request
from pathlib import Path

from bench.data.cache import Say, user_cache
from bench.data.lock import locked
from bench.data.source import ARCHIVES, Source, find_archive
from zoo.cause import first_line

START_SECONDS = 8.0  # a download that hasn't begun by then is given up; 10 s with all around it
STALL_SECONDS = 30.0  # a download that stands still for so long has broken off
# Ranks that start together must agree: after a failed try nobody tries again so soon.
RETRY_SECONDS = 60.0


def fetch_archive(name: str, say: Say) -> Source | None:
    """Download an official archive into the user's cache.

    None, said, if it can't start within 10 s, breaks off, stands still or has a wrong md5 sum. One
    process downloads, the others wait for it. Progress is torchvision's own bar.
    """
    folder = user_cache() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "download", fcntl.LOCK_EX, say, timeout=2 * STALL_SECONDS):
            return find_archive(name, folder) or _try_download(name, folder, say)
    except OSError as error:
        say(f"{name} can't be downloaded to {folder} ({error.strerror or error})")
        return None


def _try_download(name: str, folder: Path, say: Say) -> Source | None:
    url = ARCHIVES[name].url
    failed = folder / "download-failed"
    if failed.exists() and time.time() - failed.stat().st_mtime < RETRY_SECONDS:
        say(f"{name}: a download has just failed; not trying again for {RETRY_SECONDS:.0f} s")
        return None
    fault = _why_unreachable(url)
    if not fault:
        say(f"downloading {name} to {folder}")
        fault = _download(name, folder)
    if fault:
        say(f"{name} can't be downloaded from {url} ({fault})")
        failed.touch()
        return None
    return find_archive(name, folder)


def _why_unreachable(url: str) -> str:
    """Ask for the first byte of a file; say why it doesn't come, or nothing."""
    answer: list[str] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=START_SECONDS) as response:
                response.read(1)
            answer.append("")
        except (OSError, ValueError) as error:
            answer.append(str(getattr(error, "reason", error)) or type(error).__name__)

    # A thread that may be left behind: urlopen's timeout doesn't cover the look-up of the name,
    # which can hang.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(START_SECONDS)
    return answer[0] if answer else f"no answer within {START_SECONDS:.0f} s"


def _download(name: str, folder: Path) -> str:
    """Let torchvision download and check an archive; say what went wrong, or nothing."""
    # Imported here: torchvision takes seconds, and a set is downloaded once.
    from torchvision import datasets

    archive = ARCHIVES[name]
    dataset_class = getattr(datasets, archive.torchvision_class)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        if archive.layout == "svhn":
            # The one class that fetches its training and test set apart.
            dataset_class(folder, split="train", download=True)
            dataset_class(folder, split="test", download=True)
        else:
            dataset_class(folder, download=True)
    except (OSError, EOFError, RuntimeError) as error:
        return first_line(error)
    finally:
        socket.setdefaulttimeout(before)
    return ""
