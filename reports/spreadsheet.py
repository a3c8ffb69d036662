"""The tidy table as a file that spreadsheets open right, and run nothing of.

A cell that begins like a formula is one to Excel and LibreOffice, whoever wrote it (OWASP, "CSV
Injection"): a model `=cmd.py:net` would be worked out. An apostrophe before it makes it text. Where
text begins with an apostrophe and then a formula it gets another one, so that what was written can
be read back: `unescape` takes one off.
"""

import csv
import re
from pathlib import Path
from typing import Literal

from reports.runs import Source
from reports.tidy import tidy_frame

# Tabs, line ends and the wide forms count: spreadsheets drop the first and read the last as ASCII.
FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
# With the mark that Excel needs to take a file for UTF-8; pandas skips it.
ENCODING = "utf-8-sig"


def write_csv(source: Source, path: Path) -> None:
    """Write the tidy table as CSV; ValueError if the file can't be written."""
    frame = tidy_frame(source)
    # Numbers are none of anybody's text: a negative one stays as it is.
    texts = frame.select_dtypes(["string", "object"]).columns
    frame[texts] = frame[texts].map(escape)
    # `csv` quotes what holds its own line end only, and readers take a lone \r for one as well.
    returns = bool(frame[texts].map(lambda text: "\r" in str(text)).to_numpy().any())
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    try:
        frame.to_csv(path, index=False, lineterminator="\n", encoding=ENCODING, quoting=quoting)
    except OSError as error:
        raise ValueError(f"{path}: can't be written ({error.strerror or error})") from error


def escape(value: object) -> object:
    """Return a value, text that begins like a formula with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def unescape(text: str) -> str:
    """Return the text that `escape` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
