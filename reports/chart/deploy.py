"""The chart of an exported model's ways: which library runs it fastest on this machine."""

from collections.abc import Sequence

from bench.results.fastest import Fastest, find_fastest
from bench.results.interval import Estimate
from bench.results.way import CORES, LIBRARIES, LOADS, Cores, Load, Way
from reports.chart.figure import (
    Chart,
    Figure,
    caption_name,
    column_of_rows,
    draw_dots,
    error_bars,
)
from reports.column import format_value
from reports.estimate import has_interval
from reports.ranking import Entry
from reports.view import View

DEPLOY = Chart("deploy", "Fastest way to run it here")
MOST_NAMED = 3  # rows in a caption
WORDS: dict[Load, str] = {"latency": "One image", "batched": "Batches"}


def draw_deploy(view: View) -> list[Figure]:
    """Return milliseconds an image by library: alone and in batches, on all cores and on one."""
    figures = []
    for load in LOADS:
        for cores in CORES:
            rows = [entry for entry in view.largest.entries if _list_ways(entry, load, cores)]
            if rows:
                figures.append(_draw_ways(rows, load, cores))
    return figures


def _draw_ways(rows: Sequence[Entry], load: Load, cores: Cores) -> Figure:
    traces = []
    for number, (library, title) in enumerate(LIBRARIES.items()):
        metric = Way(library, cores).metric(load)
        timed = [entry for entry in rows if metric in entry.numbers]
        numbers = [entry.numbers[metric] for entry in timed]
        dots = draw_dots(title, [each.value for each in numbers], timed, number)
        traces.append(dots | {"error_x": error_bars(numbers)})
    layout = {"xaxis": {"type": "log"}, "yaxis": column_of_rows(rows), "rows": len(rows)}
    tab = f"{WORDS[load]}, {cores}"
    return Figure(
        DEPLOY,
        _caption(rows, load, cores),
        traces,
        "ms an image",
        layout=layout,
        key=f"deploy-{load}-{cores.replace(' ', '-')}",
        tab=tab,
    )


def _list_ways(entry: Entry, load: Load, cores: Cores) -> list[Way]:
    ways = [Way(library, cores) for library in LIBRARIES]
    return [way for way in ways if way.metric(load) in entry.numbers]


def _caption(rows: Sequence[Entry], load: Load, cores: Cores) -> str:
    """Say of the first rows which way is fastest."""
    sentences = []
    for entry in rows[:MOST_NAMED]:
        found = fastest_of(entry, load, cores)
        if found is not None:
            sentences.append(f"{caption_name(entry)}: {describe_fastest(found)}.")
    return " ".join(sentences)


def fastest_of(entry: Entry, load: Load, cores: Cores | None = None) -> Fastest | None:
    """Return a row's fastest way, of all or of those on so many cores."""
    comparison = entry.run.comparison
    if comparison is None:
        return None
    rows = {row.metric: row for row in comparison.measurements.get(entry.model, ())}
    if cores is not None:
        kept = {Way(library, cores).metric(load) for library in LIBRARIES}
        rows = {metric: row for metric, row in rows.items() if metric in kept}
    return find_fastest(rows, load)


def describe_fastest(found: Fastest) -> str:
    """Say which way is fastest, by how much, and which may be as fast."""
    took = f"{found.way.title}, {_interval(found.value)} ms"
    if not found.is_proven:
        return f"no way is proven fastest; least took {took}"
    if found.ratio is not None:
        took += f", {_interval(found.ratio)} times as fast as torch"
    if found.rivals:
        took += f"; {' and '.join(way.title for way in found.rivals)} may be as fast"
    return took


def _interval(number: Estimate) -> str:
    value, low, high = (format_value(each, "number") for each in number)
    return f"{value} ({low} to {high})" if has_interval(number) else value
