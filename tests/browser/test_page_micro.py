"""How long a large page takes to show its table, and to sort and filter it, in a real browser.

./launch.sh micro tests/browser/test_page_micro.py
Aims, painted: the first table of 90 records of 200 epochs within 1.5 s; 500 rows sorted or filtered
within 100 ms, and as soon the answer to a limit that is moved.
"""

from pathlib import Path
from typing import Any

import pytest
from opened_page import Open

from reports.page import build_page
from reports.runs import read_source
from tests.support.record_factory import ZOO, comparison, record, write_run

pytestmark = [pytest.mark.micro, pytest.mark.browser]

# A frame is painted after the callbacks that asked for it, so a second frame starts when the first
# one is on screen.
PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
TIMED = f"""async (act) => {{
const started = performance.now();
({{ sort: () => document.querySelector('#ranking th[data-sort=top1] button').click(),
   limit: () => {{ document.querySelector('#chooser').open = true;
                   const has = document.querySelector('#limits input');
                   if (!has) document.querySelector('#add-limit').click();
                   const least = document.querySelector('#limits input');
                   least.value = 1 + Number(least.value) % 50;
                   least.dispatchEvent(new Event('input', {{ bubbles: true }})); }},
   filter: () => {{ const q = document.querySelector('#search'); q.value = q.value ? '' : '7';
                    q.dispatchEvent(new Event('input', {{ bubbles: true }})); }} }})[act]();
document.body.getBoundingClientRect();
const computed = performance.now() - started;
await ({PAINTED})();
return [computed, performance.now() - started];
}}"""


def page_of(folder: Path, models: int, seeds: int, epochs: int) -> Path:
    animals = [ZOO[i % len(ZOO)]._replace(name=f"model_{i}") for i in range(models)]
    records = [
        record(animal, seed, num_epochs=epochs) for animal in animals for seed in range(seeds)
    ]
    run = write_run(
        folder / "run", records, comparison(animals[:30]), with_predictions=models <= 30
    )
    page = folder / "page.html"
    page.write_text(build_page(read_source([run])), encoding="utf-8")
    return page


def test_first_table(benchmark: Any, opened: Open, tmp_path: Path) -> None:
    benchmark.group = "30 models x 3 seeds x 200 epochs"
    page = page_of(tmp_path, 30, 3, 200)
    found = opened(page)

    def load() -> None:
        found.page.goto(found.url, wait_until="commit")
        found.page.wait_for_selector("#ranking tbody tr[data-i]")
        found.page.evaluate(PAINTED)

    benchmark.pedantic(load, rounds=7, warmup_rounds=1)
    found.page.wait_for_selector("html[data-ready]", state="attached")
    benchmark.extra_info["bytes"] = page.stat().st_size
    found.requests.clear()


@pytest.mark.parametrize("act", ["sort", "filter", "limit"])
def test_500_rows(benchmark: Any, opened: Open, tmp_path: Path, act: str) -> None:
    benchmark.group = "500 rows"
    found = opened(page_of(tmp_path, 500, 1, 5))
    spent = []
    benchmark.pedantic(
        lambda: spent.append(found.page.evaluate(TIMED, act)), rounds=9, warmup_rounds=1
    )
    benchmark.extra_info["milliseconds until computed and laid out, until painted"] = spent
