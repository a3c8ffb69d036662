"""Which memory format a model has: what was asked for, or the one in which its steps are faster.

No torch.
"""

import statistics
from collections.abc import Mapping, Sequence

from bench.results.record import RunRecord

CHANNELS_LAST, NCHW = "channels-last", "NCHW"
FORMATS = (CHANNELS_LAST, NCHW)
# A run's rule where neither is asked for, in its records and on the page.
WHERE_FASTER = "where faster"
# Times as fast as channels-last NCHW must be: less may be noise, and a run made again would choose
# otherwise.
LEAST_GAIN = 1.05


def choose_channels_last(seconds: Mapping[str, Sequence[float]]) -> bool:
    """Return whether channels-last is kept, by the seconds of a step in each format, in rounds.

    The median of the rounds' ratios decides: a step that something else held up says little.
    """
    pairs = zip(seconds[CHANNELS_LAST], seconds[NCHW], strict=True)
    return statistics.median(last / first for last, first in pairs) <= LEAST_GAIN


def asked_format(record: RunRecord) -> object:
    """Return whether a run's models all had channels-last, or `where faster`."""
    # Older records hold what was asked for alone, and that was in force.
    return record.environment.get("channels_last", record.config.get("channels_last"))


def used_format(record: RunRecord) -> bool | None:
    """Return whether a record's model had channels-last; None where none was chosen yet."""
    if record.format_trial is not None:
        return record.format_trial.channels_last
    asked = asked_format(record)
    return asked if isinstance(asked, bool) else None
