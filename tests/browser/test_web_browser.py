"""The page that answers pictures, in a browser.

Oracles: the predictor's own answer; axe; the browser's count of requests and violations.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from conftest import WATCH
from PIL import Image

from bench import serve
from bench.deploy.predictor import open_predictor
from bench.deploy.sample import read_samples
from bench.deploy.served_model import list_models
from bench.deploy.web import make_app
from tests.support.trained_run import open_context, write_cell


@pytest.fixture
def run(tmp_path: Path, tiny_data: Any, runtime: Any) -> Path:
    context = open_context(tmp_path / "run", tiny_data, runtime)
    write_cell(context, "lenet5")
    write_cell(context, "mlp", validation_top1=40)
    return context.folder


@pytest.fixture
def address(run: Path) -> Iterator[str]:
    app = make_app(list_models([run], [], [], None), read_samples([run]))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    with serve.listen(0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_is_answered_compared_and_explained_by_keyboard_alone(
    scheme: str, address: str, run: Path, browser: Any, tmp_path: Path
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    picture = tmp_path / "picture.png"
    Image.linear_gradient("L").resize((50, 40)).convert("RGB").save(picture)
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": 320, "height": 800}, bypass_csp=False
    )
    context.add_init_script(WATCH)
    page = context.new_page()
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.locator("#models input").first.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.set_input_files("#file", picture)
    page.locator("article").wait_for()

    predictor = open_predictor(run=run, model="lenet5")
    (expected,) = predictor.predict([__import__("numpy").asarray(Image.open(picture))])
    name = predictor.info.class_names[expected.argmax()]
    assert page.locator("#verdict").inner_text() == f"{name}, {100 * expected.max():.1f} %"

    page.locator("#models input").nth(1).focus()
    page.keyboard.press("Space")
    page.locator("article").nth(1).wait_for()
    assert page.locator("#verdict").inner_text().startswith(("Both say", "They disagree"))
    page.locator("article button").first.focus()
    page.keyboard.press("Enter")
    page.locator("#caption:has-text('What spoke for')").wait_for()

    page.locator("summary").focus()
    page.keyboard.press("Enter")
    page.locator("#samples button").first.focus()
    page.keyboard.press("Enter")
    page.locator("#caption:has-text('32 x 32')").wait_for()

    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert all(url.startswith((address, "blob:")) for url in requests)
    assert errors == []
    assert page.evaluate("violations") == []
    assert Axe().run(page).response["violations"] == []
    context.close()


@pytest.mark.browser
def test_what_cannot_be_read_is_said_and_the_next_picture_is_answered(
    address: str, browser: Any, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("just text")
    page = browser.new_context().new_page()
    page.goto(address)
    page.locator("#models input").first.wait_for()
    page.set_input_files("#file", bad)
    page.locator("#status.bad").wait_for()
    assert page.locator("#status").inner_text().startswith("the picture can't be read: ")
    assert page.locator("#result").is_hidden()
    page.locator("summary").click()
    page.locator("#samples button").nth(2).click()
    page.locator("article").wait_for()
    assert page.locator("#status").inner_text() == ""
    page.context.close()
