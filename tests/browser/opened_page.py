"""A page that a test has opened, and what was seen while it was open."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest

HOW = (
    "needs Playwright (pip install playwright) and chromium (apt install chromium); "
    "ZOOMETRY_BROWSER=required insists"
)


def missing_browser(reason: str) -> NoReturn:
    """Skip with how to get a browser, or fail where one is required."""
    if os.environ.get("ZOOMETRY_BROWSER") == "required":
        pytest.fail(f"{reason}: {HOW}")
    pytest.skip(f"{reason}: {HOW}")


@dataclass
class Opened:
    """A page and what was seen while it was open."""

    page: Any
    url: str
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def load(self, view: str = "") -> None:
        """Load the page, with a view in its address, and wait until its script is ready."""
        self.page.goto(f"{self.url}#{view}" if view else self.url)
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def wait(self, expression: str, arg: Any = None) -> None:
        """Wait until an expression holds.

        Playwright's own way evaluates text in the page, which the policy forbids.
        """
        for _ in range(400):
            if self.page.evaluate(expression, arg):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never: {expression}")

    def choose(self, figure: str) -> None:
        """Choose a chart's tab."""
        self.page.click(f"label:has(input[value={figure}])")

    def models(self) -> list[str]:
        """The models that the table shows, in order."""
        found: list[str] = self.page.eval_on_selector_all(
            "#ranking tr[data-i]:not([hidden])",
            "rows => rows.map(r => data.rows[r.dataset.i].model)",
        )
        return found

    def column(self, key: str) -> list[str]:
        """The text of a column's cells in the rows that are shown, without the small print."""
        found: list[str] = self.page.eval_on_selector_all(
            f"#ranking tr[data-i]:not([hidden]) .c-{key}",
            "cells => cells.map(c => c.firstChild?.textContent ?? '')",
        )
        return found

    def draw_all(self) -> None:
        """Bring every chart into the window until it is drawn."""
        for chart in self.page.query_selector_all(".chart[data-chart]"):
            chart.scroll_into_view_if_needed()
            chart.wait_for_selector(".main-svg")

    def twin(self, chart: str) -> list[list[str]]:
        """The rows of a chart's table twin, head first."""
        holder = f".chart[data-chart='{chart}'] .twin"
        self.page.eval_on_selector(holder, "twin => { twin.open = true; }")
        self.page.wait_for_selector(f"{holder} table", state="attached")
        found: list[list[str]] = self.page.eval_on_selector_all(
            f"{holder} tr", "rows => rows.map(r => [...r.children].map(c => c.textContent))"
        )
        return found


Open = Callable[..., Opened]
