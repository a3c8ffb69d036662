"""Training curves so far as a picture of lines, for the list of runs."""

from collections.abc import Sequence

from bench.results.record import RunRecord

WIDTH, HEIGHT = 160.0, 50.0


def curve_svg(records: Sequence[RunRecord]) -> str:
    """One line a cell: validation top-1 over training time; empty without two evaluations."""
    curves = [[(e.seconds, e.evaluation.top1) for e in record.epochs if e.evaluation] for record in records]
    curves = [curve for curve in curves if len(curve) > 1]
    if not curves:
        return ""
    longest = max(x for curve in curves for x, _ in curve) or 1.0
    highest = max(y for curve in curves for _, y in curve) or 1.0
    lines = "".join(f'<polyline points="{_points(curve, longest, highest)}"/>' for curve in curves)
    label = f"{len(curves)} curves, highest {highest:.1f} %"
    box = f"0 0 {WIDTH:.0f} {HEIGHT:.0f}"
    return f'<svg viewBox="{box}" role="img" aria-label="{label}">{lines}</svg><small>{label}</small>'


def _points(curve: Sequence[tuple[float, float]], longest: float, highest: float) -> str:
    return " ".join(f"{WIDTH * x / longest:.1f},{HEIGHT * (1 - y / highest):.1f}" for x, y in curve)
