"""The page that answers pictures, and its endpoint.

Oracles: what the predictor itself says; the statuses of RFC 9110; Pillow's files, damaged.
"""

import io
import json
import socket
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from bench import serve
from bench.deploy import upload, web
from bench.deploy.model_info import ModelInfo, Transform
from bench.deploy.predictor import Predictor, open_predictor
from bench.deploy.sample import read_samples
from bench.deploy.served_model import list_models, say_set
from bench.deploy.upload import decode_upload
from bench.deploy.web import make_app
from bench.results.record import CellKey
from bench.results.reliability import conformal_sets
from bench.results.storage import cell_folder
from tests.support.trained_run import open_context, write_cell

OWN = "http://127.0.0.1:8080"
JPEG = {"content-type": "image/jpeg"}


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_of(width: int, height: int, pixels: bytes = b"", *before: bytes) -> bytes:
    """A PNG whose head says what it likes."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + body + chunk(b"IEND", b"")


PLAIN = encode(picture(), "JPEG")
TEXT_BOMB = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000)))
EXIF_BOMB = chunk(b"eXIf", b"MM\0*\0\0\0\x08" + b"\xff\xff" + b"\x01\x12\0\3\0\0\xff\xff" * 5000)
GOOD = {
    "jpeg": PLAIN,
    "grey": encode(picture("L")),
    "bilevel": encode(picture("1")),
    "cmyk": encode(picture("CMYK"), "JPEG"),
    "16 bit": encode(Image.fromarray(np.full((9, 9), 40_000, dtype=np.uint16))),
    "palette": encode(picture("P")),
    "palette with transparency": encode(picture("P"), transparency=3),
    "transparent": encode(picture("RGBA")),
    "grey with transparency": encode(picture("LA")),
    "webp": encode(picture(), "WEBP"),
    "bmp": encode(picture(), "BMP"),
    "tiff": encode(picture(), "TIFF"),
    "animated gif": encode(picture("P"), "GIF", save_all=True, append_images=[picture("P")] * 3),
    "animated webp": encode(picture(), "WEBP", save_all=True, append_images=[picture()] * 3),
    "animated png": encode(picture(), save_all=True, append_images=[picture()] * 3),
    "one pixel": encode(picture(size=(1, 1))),
    "a strip": encode(picture(size=(2000, 1))),
    "turned by EXIF": encode(picture(), "JPEG", exif=turned()),
    "EXIF that isn't": encode(picture(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 60_000),
    "markup behind it": PLAIN + b"<script>alert(1)</script>" * 1000,
}
BAD = {
    "empty": b"",
    "one byte": b"\xff",
    "text": b"just a text named x.jpg",
    "markup": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
    "pdf": b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "icon": encode(picture(), "ICO"),
    "jpeg's head alone": PLAIN[:20],
    "half a jpeg": PLAIN[: len(PLAIN) // 2],
    "half a png": encode(picture())[:500],
    "half a gif": encode(picture("P"), "GIF")[:100],
    "half a webp": encode(picture(), "WEBP")[:100],
    "half a tiff": encode(picture(), "TIFF")[:100],
    "half a bmp": encode(picture(), "BMP")[:100],
    "no pixels": png_of(0, 0),
    "no height": png_of(9, 0),
    "fewer pixels than said": png_of(90, 90, bytes(100)),
    "50,000 x 50,000": png_of(50_000, 50_000),
    "12,000 x 12,000": png_of(12_000, 12_000),
    "2^31 pixels wide": png_of(2**31 - 1, 1),
    "a gif of 65,535 x 65,535": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",",
    "a bmp of 2^31": b"BM"
    + bytes(12)
    + struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, 9, 1, 24, *[0] * 6),
    "floats": encode(Image.fromarray(np.zeros((9, 9), dtype=np.float32)), "TIFF"),
    "text that unpacks to 80 MB": png_of(9, 9, bytes(9 * 28), TEXT_BOMB),
}


@pytest.fixture
def run(tmp_path: Path, tiny_data: Any, runtime: Any) -> Path:
    context = open_context(tmp_path / "run", tiny_data, runtime)
    write_cell(context, "lenet5")
    write_cell(context, "mlp", validation_top1=40)
    return context.folder


class Quarter(Predictor):
    """Says class 1 by the light in the upper left quarter, without any library."""

    library = "numpy"
    transform = Transform(
        short_side=16, side=16, channels=3, mean=(0,), std=(1,), in_channels=3, image_size=16
    )
    info = ModelInfo(
        model="quarter",
        seed=0,
        run="",
        dataset="",
        checksum="",
        class_names=("dark", "<b>light</b>"),
        superclass_names=(),
        superclass_of=(),
        transform=transform,
        top1=None,
    )

    def find_temperature(self) -> float:
        return 1.0

    def score(self, squares: Any) -> Any:
        light = squares[:, :8, :8].mean((1, 2, 3), dtype=np.float32)
        return np.stack([np.full_like(light, 128), light], axis=1)


def client_of(run: Path, **options: Any) -> TestClient:
    app = make_app(list_models([run], [], [], None), read_samples([run]))
    return TestClient(app, base_url=OWN, **options)


@pytest.fixture
def client() -> TestClient:
    """A page with a model that takes no time."""
    (model,) = (served for served in [web.ServedModel("quarter", "quarter", Quarter)])
    return TestClient(make_app([model], web.Samples([], [])), base_url=OWN)


def test_answers_are_the_predictors_own(run: Path, tiny_data: Any) -> None:
    client = client_of(run)
    listed = client.get("/models").json()
    keys = [model["key"] for model in listed["models"]]
    assert keys == ["run/lenet5-s0", "run/mlp-s0"]
    pixels = tiny_data.test.images[5, 4:36, 4:36]
    found = client.post(
        "/predict",
        params={"model": keys},
        content=encode(Image.fromarray(pixels)),
        headers={"content-type": "image/png"},
    ).json()
    assert (found["width"], found["height"]) == (32, 32)
    for name, answer in zip(("lenet5", "mlp"), found["answers"], strict=True):
        (expected,) = open_predictor(run=run, model=name).predict([pixels])
        likeliest = np.argsort(-expected)[:5]
        assert answer["number"] == likeliest[0]
        assert [row["name"] for row in answer["classes"]] == [
            tiny_data.class_names[number] for number in likeliest
        ]
        said = [row["probability"] for row in answer["classes"]]
        assert said == pytest.approx(expected[likeliest], abs=1e-5)
    assert found["verdict"].startswith(("Both say class", "They disagree: lenet5, seed 0 says"))


def test_the_set_in_words_is_the_conformal_set_of_validation(run: Path, tiny_data: Any) -> None:
    (model, _) = list_models([run], [], [], None)
    with np.load(cell_folder(run, CellKey("lenet5", 0)) / "scores.npz") as kept:
        scores = {name: kept[name] for name in kept.files}
    losses = -scores["validation_log_probabilities"][
        np.arange(len(scores["validation_label"])), scores["validation_label"]
    ].astype(np.float32)
    expected = conformal_sets(scores["log_probabilities"], tiny_data.test.labels, losses)
    opened = model.opened()
    assert opened.limit is not None
    probability = np.exp(scores["log_probabilities"].astype(np.float32))
    for row, size in zip(probability, expected.size, strict=True):
        words = say_set(opened.predictor.info, row, opened.limit)
        count = len(tiny_data.class_names) if words.startswith("any") else words.count("class ")
        assert count == size or "no class" in words


def test_test_images_of_the_run_can_be_tried(run: Path, tiny_data: Any) -> None:
    client = client_of(run)
    names = client.get("/models").json()["samples"]
    with np.load(cell_folder(run, CellKey("lenet5", 0)) / "samples.npz") as kept:
        index, images = kept["index"], kept["image"]
    assert names == [tiny_data.class_names[number] for number in tiny_data.test.labels[index]]
    sent = client.get("/sample/3.png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent.content))), images[3])
    assert client.get(f"/sample/{len(names)}.png").status_code == 404
    assert client.get("/sample/-1.png").status_code == 404


def test_an_explanation_names_the_quarter_that_a_model_looks_at(client: TestClient) -> None:
    white = encode(Image.fromarray(np.full((16, 16, 3), 255, dtype=np.uint8)))
    bright = np.zeros((16, 16, 3), dtype=np.uint8)
    bright[:8, :8] = 255
    found = client.post(
        "/explain", params={"class": "1"}, content=encode(Image.fromarray(bright)), headers=JPEG
    ).json()
    heat = np.reshape(found["heat"], (found["side"], found["side"]))
    assert heat[:6, :6].min() > 200
    assert heat[10:, 10:].max() == 0
    for wrong in ("", "2", "-1", "x", "1e9"):
        refused = client.post("/explain", params={"class": wrong}, content=white, headers=JPEG)
        assert refused.status_code == 400
        assert refused.json()["error"] == "class: give a number below 2"


def test_a_network_is_explained_over_the_whole_square(run: Path, tiny_data: Any) -> None:
    content = encode(Image.fromarray(tiny_data.test.images[0, 4:36, 4:36]))
    found = client_of(run).post("/explain", params={"class": 0}, content=content, headers=JPEG)
    assert found.json()["side"] ** 2 == len(found.json()["heat"]) == 32**2


@pytest.mark.parametrize("name", GOOD)
def test_a_picture_of_any_kind_is_answered(name: str, client: TestClient) -> None:
    answer = client.post("/predict", content=GOOD[name], headers=JPEG)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["answers"][0]["classes"]) == 2


@pytest.mark.parametrize("name", BAD)
def test_a_picture_that_cannot_be_read_is_refused_in_a_line(name: str, client: TestClient) -> None:
    answer = client.post("/predict", content=BAD[name], headers=JPEG)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith("the picture ")
    assert "\n" not in answer.json()["error"]
    assert client.post("/predict", content=PLAIN, headers=JPEG).status_code == 200


REQUESTS: dict[str, tuple[int, dict[str, Any]]] = {
    "a form": (415, {"headers": {"content-type": "application/x-www-form-urlencoded"}}),
    "a file of a form": (415, {"files": {"image": PLAIN}, "content": None, "headers": {}}),
    "text": (415, {"headers": {"content-type": "text/plain"}}),
    "no type": (415, {"headers": {}}),
    "another host": (403, {"headers": JPEG | {"host": "evil.example"}}),
    "another host on our port": (403, {"headers": JPEG | {"host": "evil.example:8080"}}),
    "no host": (403, {"headers": JPEG | {"host": ""}}),
    "another origin": (403, {"headers": JPEG | {"origin": "http://evil.example"}}),
    "a sandboxed origin": (403, {"headers": JPEG | {"origin": "null"}}),
    "another port's origin": (403, {"headers": JPEG | {"origin": "http://127.0.0.1:9"}}),
    "an unknown model": (404, {"params": {"model": "../../etc/passwd"}}),
    "too many models": (400, {"params": {"model": ["quarter"] * 5}}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_wrong_request_has_its_status_and_a_line(name: str, client: TestClient) -> None:
    status, changes = REQUESTS[name]
    answer = client.post("/predict", **{"content": PLAIN, "headers": JPEG} | changes)
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/page/../web.py", "/..%2f..%2fpyproject.toml", "/sample/..%2f0.png", "/web.py"]
)
def test_no_path_leads_out_of_the_page(path: str, client: TestClient) -> None:
    assert client.get(path).status_code == 404


def test_an_upload_ends_at_the_most_that_is_taken(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_BYTES", 1000)
    answer = client.post("/predict", content=bytes(1001), headers=JPEG)
    assert answer.status_code == 413
    assert answer.json()["error"] == "pictures of over 0 MB aren't taken"


def test_a_name_of_a_class_is_sent_as_it_is_and_as_no_markup(client: TestClient) -> None:
    answer = client.post("/predict", content=PLAIN, headers=JPEG)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<b>light</b>" in {row["name"] for row in answer.json()["answers"][0]["classes"]}
    page = (web.PAGE / "page.js").read_text()
    assert not {"innerHTML", "insertAdjacentHTML", "document.write", "eval("} & set(page.split())
    assert "innerHTML" not in page


def test_a_port_in_use_gives_the_next_and_a_wrong_one_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind((serve.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serve.listen(port) as listener:
            assert port < listener.getsockname()[1] < port + serve.NUM_PORTS
    with pytest.raises(ValueError, match="--port 70000: choose from 0 to 65535"):
        serve.listen(70_000)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to serve: give a run's folder, or --onnx FILE"),
        (["nowhere"], "--run nowhere: holds no run"),
        (["--onnx", "nowhere.onnx"], "--onnx nowhere.onnx: no such file"),
        (["--port", "-1"], "nothing to serve"),
    ],
)
def test_a_wrong_start_ends_with_a_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve.main(words) == 2
    assert message in capsys.readouterr().err


def test_a_missing_extra_is_named_with_the_command_that_gets_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    assert serve.main(["nowhere"]) == 2
    assert "pip install -e '.[serve]'" in capsys.readouterr().err


def test_what_is_uploaded_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "MAX_PIXELS", 40 * 30)
    assert decode_upload(PLAIN).shape == (30, 40, 3)
    with pytest.raises(ValueError, match="41 x 30 pixels are more"):
        decode_upload(encode(picture(size=(41, 30))))
    monkeypatch.setattr(upload, "MAX_BYTES", len(PLAIN) - 1)
    with pytest.raises(ValueError, match="the picture has over"):
        decode_upload(PLAIN)


def test_answers_are_plain_json(run: Path) -> None:
    answer = client_of(run).post("/predict", content=PLAIN, headers=JPEG)
    assert json.loads(answer.content)["answers"][0]["milliseconds"] > 0
