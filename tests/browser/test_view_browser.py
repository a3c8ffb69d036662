"""The view in the address, themes, keyboard and accessibility.

Oracles: axe-core; a view that was set by hand.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest
from opened_page import Open, Opened, missing_browser

pytestmark = pytest.mark.browser


def violations(opened: Opened) -> list[str]:
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        missing_browser("no axe-playwright-python")
    found: dict[str, Any] = Axe().run(opened.page, options={"resultTypes": ["violations"]}).response
    return [f"{v['id']}: {node['html'][:150]}" for v in found["violations"] for node in v["nodes"]]


def busy_view(opened: Opened) -> None:
    """Everything that can be open is open."""
    opened.page.select_option("#baseline", label="lenet5")
    opened.page.evaluate(
        "document.querySelectorAll('details:not(.model)').forEach(d => { d.open = true; })"
    )
    opened.page.evaluate("document.querySelector('details.model').open = true")
    opened.page.wait_for_selector(".model .facts")


MODES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 320, "height": 640}},
    "forced": {"forced_colors": "active"},
}


@pytest.mark.parametrize(
    "mode",
    [
        "light",
        *(pytest.param(mode, marks=pytest.mark.ci) for mode in ("dark", "narrow", "forced")),
    ],
)
def test_axe_finds_nothing(mode: str, opened: Open, demo_page: Path) -> None:
    page = opened(demo_page, **MODES[mode])
    busy_view(page)
    assert violations(page) == []


@pytest.mark.ci
def test_axe_finds_nothing_on_paper(opened: Open, demo_page: Path) -> None:
    page = opened(demo_page)
    page.page.emulate_media(media="print")
    assert violations(page) == []


def test_nothing_is_wider_than_320_px(opened: Open, demo_page: Path) -> None:
    page = opened(demo_page, viewport={"width": 320, "height": 640})
    busy_view(page)
    assert page.page.evaluate("document.documentElement.scrollWidth") == 320


def test_every_control_is_reached_by_the_tab_key(demo: Opened) -> None:
    demo.page.evaluate(
        "document.querySelectorAll('button, input, select, summary, a[href], [tabindex=\"0\"]')"
        ".forEach("
        "  (e, i) => { e.dataset.control = i; })"
    )
    wanted = demo.page.evaluate(
        "[...document.querySelectorAll('[data-control]')]"
        ".filter(e => e.checkVisibility({visibilityProperty: true})"
        " && !(e.type === 'radio' && !e.checked)).map(e => e.dataset.control)"
    )
    reached = set()
    for _ in range(len(wanted) + 5):
        demo.page.keyboard.press("Tab")
        reached.add(demo.page.evaluate("document.activeElement.dataset.control"))
    assert [c for c in wanted if c not in reached] == []


def test_what_has_the_focus_shows_it(demo: Opened) -> None:
    for selector in (
        "#csv",
        "#baseline",
        "#search",
        ".menu summary",
        "#ranking thead button",
        "#ranking .name a",
    ):
        demo.page.focus("#theme")
        demo.page.locator(selector).first.evaluate("e => e.focus({focusVisible: true})")
        assert (
            demo.page.locator(selector).first.evaluate("e => getComputedStyle(e).outlineStyle")
            != "none"
        )


def test_a_column_is_sorted_by_the_keyboard(demo: Opened) -> None:
    demo.page.focus("#ranking th[data-sort=num_parameters] button")
    demo.page.keyboard.press("Enter")
    assert demo.models()[0] == "lenet5"


def test_tabs_of_a_chart_move_with_the_arrow_keys(demo: Opened) -> None:
    demo.page.focus(".chart[data-chart=tradeoff] .tabs input")
    demo.page.keyboard.press("ArrowRight")
    assert "tab=tradeoff-infer_images_per_second" in demo.page.evaluate("location.hash")


def test_a_family_is_left_out_by_the_space_bar(demo: Opened) -> None:
    demo.page.focus("[data-family=lenet]")
    demo.page.keyboard.press("Space")
    assert "lenet5" not in demo.models()


def test_the_skip_link_leads_to_the_table(demo: Opened) -> None:
    demo.page.focus(".skip")
    demo.page.keyboard.press("Enter")
    assert demo.page.evaluate("document.activeElement.id") == "table"


def test_the_count_of_rows_is_announced(demo: Opened) -> None:
    assert demo.page.get_attribute("#shown", "role") == "status"
    demo.page.fill("#search", "lenet5")
    assert demo.page.inner_text("#shown") == "1 of 9 rows"


def set_by_hand(demo: Opened) -> None:
    demo.page.click("#ranking th[data-sort=latency_ms_p50] button")
    demo.page.fill("#search", "cifar")
    demo.page.click("label:has([data-family=alexnet])")
    demo.page.select_option("#baseline", label="resnet18_cifar")
    demo.page.click(".menu summary")
    demo.page.uncheck("[data-column=top5]")
    demo.page.keyboard.press("Escape")
    demo.choose("tradeoff-peak_memory_bytes")


def test_a_link_restores_the_whole_view(demo: Opened, opened: Open, demo_page: Path) -> None:
    set_by_hand(demo)
    other = opened(demo_page, view=demo.page.evaluate("location.hash.slice(1)"))
    assert other.models() == demo.models()
    assert other.page.input_value("#search") == "cifar"
    assert other.page.is_visible("#ranking tr:not([hidden]) .vs")
    assert not other.page.is_visible("#ranking thead .c-top5")
    assert not other.page.is_checked("[data-family=alexnet]")
    assert other.page.is_checked("input[value=tradeoff-peak_memory_bytes]")


def test_a_link_names_models_and_not_their_numbers(demo: Opened) -> None:
    demo.page.select_option("#baseline", label="resnet18_cifar")
    assert "base=demo%2Fresnet18_cifar" in demo.page.evaluate("location.hash")


def test_the_first_view_has_an_empty_address(demo: Opened) -> None:
    demo.page.fill("#search", "x")
    demo.page.fill("#search", "")
    assert demo.page.evaluate("location.hash") == ""


def test_an_address_typed_by_hand_is_followed(demo: Opened) -> None:
    demo.page.evaluate("location.hash = 'q=lenet5&sort=model&dir=asc'")
    demo.wait("document.querySelector('#shown').textContent === '1 of 9 rows'")
    assert demo.models() == ["lenet5"]


@pytest.mark.parametrize(
    "view",
    [
        "sort=none&dir=up",
        "base=nobody",
        "columns=a,b,<script>",
        "tab=none&open=none",
        "theme=<b>",
        "%%%",
        "without=%F0",
    ],
)
def test_an_address_that_makes_no_sense_is_survived(view: str, demo: Opened) -> None:
    demo.page.evaluate("view => { location.hash = view; }", view)
    demo.wait("document.querySelector('#shown').textContent === '9 rows'")
    assert len(demo.models()) == 9


def test_an_open_model_is_in_the_link(demo: Opened, opened: Open, demo_page: Path) -> None:
    demo.page.click("#ranking a:has-text('mobilenet')")
    demo.wait("location.hash.includes('open=')")
    other = opened(demo_page, view=demo.page.evaluate("location.hash.slice(1)"))
    other.page.wait_for_selector("details.model[open] .facts")
    assert other.page.locator("details.model[open] > summary").inner_text().startswith("mobilenet")


def background(opened: Opened) -> str:
    found: str = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_it_follows_the_system_into_the_dark(opened: Open, demo_page: Path) -> None:
    assert background(opened(demo_page, color_scheme="dark")) == "rgb(20, 24, 29)"


def test_the_theme_can_be_switched_and_is_in_the_link(demo: Opened) -> None:
    assert background(demo) == "rgb(255, 255, 255)"
    demo.page.click("#theme")
    assert background(demo) == "rgb(20, 24, 29)"
    assert "theme=dark" in demo.page.evaluate("location.hash")
    demo.page.click("#theme")
    assert background(demo) == "rgb(255, 255, 255)"


def test_without_javascript_table_warnings_and_provenance_are_readable(
    opened: Open, demo_page: Path
) -> None:
    page = opened(demo_page, java_script_enabled=False).page
    for text in (
        "resnet18_cifar",
        "36.0",
        "out of memory",
        "Drifted",
        "AMD EPYC 9R14",
        "The charts need JavaScript",
    ):
        assert page.get_by_text(text).first.is_visible()
    assert not page.is_visible("#search")
    assert not page.is_visible(".plot")


def test_a_script_that_is_not_ours_does_not_run(
    opened: Open, demo_page: Path, tmp_path: Path
) -> None:
    text = demo_page.read_text(encoding="utf-8").replace(
        "<main>", "<main><script>window.ran = 1</script>"
    )
    (tmp_path / "x.html").write_text(text, encoding="utf-8")
    page = opened(tmp_path / "x.html")
    assert page.page.evaluate("window.ran") is None
    assert page.page.evaluate("violations.splice(0).length") == 1
    page.errors.clear()


def test_nothing_can_be_sent_or_fetched(opened: Open, demo_page: Path) -> None:
    page = opened(demo_page)
    said = page.page.evaluate("fetch('https://example.org/').then(() => 'sent', (e) => e.name)")
    assert said == "TypeError"
    page.wait("violations.length > 0")
    assert page.page.evaluate("violations.splice(0).join()").startswith("connect-src")
    page.errors.clear()
    page.requests.clear()


def test_on_paper_every_chart_is_whole(opened: Open, demo_page: Path) -> None:
    found = opened(demo_page, color_scheme="dark")
    found.wait("!!window.Plotly")
    page = found.page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    cut = page.evaluate(
        "[...document.querySelectorAll('.chart[data-chart]')]"
        ".filter(c => { const s = c.querySelector('.main-svg');"
        " return !s || s.getBoundingClientRect().right > c.getBoundingClientRect().right + 1; })"
        ".map(c => c.dataset.chart)"
    )
    assert cut == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_it_prints_to_paper(opened: Open, demo_page: Path) -> None:
    page = opened(demo_page)
    page.wait("!!window.Plotly")
    assert page.page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_the_head_has_one_first_heading_and_no_level_is_skipped(demo: Opened) -> None:
    levels = demo.page.eval_on_selector_all(
        "h1, h2, h3, h4", "h => h.map(x => Number(x.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
