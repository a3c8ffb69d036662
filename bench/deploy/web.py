"""The page that answers pictures, and its JSON endpoint, for this machine alone. Extra `serve`.

Nothing that is sent is stored. `docs/deploy.md` describes what each address takes and returns.
"""

import asyncio
import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from anyio import to_thread
from numpy.typing import NDArray
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bench.deploy.sample import Samples
from bench.deploy.served_model import ServedModel, say_agreement
from bench.deploy.upload import MAX_BYTES, decode_upload

MAX_MODELS = 4  # side by side
PATIENCE_SECONDS = 20  # for all of a picture to come
AT_ONCE = 2  # pictures in work: each may take some 400 MB while it is decoded
HEAT_SIDE = 56  # pixels at most: a page draws it larger, smoothly
PICTURE_TYPES = ("image/", "application/octet-stream")
PAGE = Path(__file__).parent / "page"
STATIC = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
OWN_HOSTS = ("127.0.0.1", "localhost")


def make_app(models: Sequence[ServedModel], samples: Samples) -> ASGIApp:
    """Return the application: its page, its models, its pictures, and the two questions."""
    site = Site(models, samples)
    statics = [Route(path, partial(send_file, *file)) for path, file in STATIC.items()]
    return Starlette(
        routes=[
            *statics,
            Route("/models", site.list_models),
            Route("/sample/{number:int}.png", site.send_sample),
            Route("/predict", site.predict, methods=["POST"]),
            Route("/explain", site.explain, methods=["POST"]),
        ],
        middleware=[Middleware(OwnMachineOnly)],
        exception_handlers={HTTPException: say_error},
    )


class OwnMachineOnly:
    """Refuses what another site's page may make a browser send, and adds HEADERS to all answers.

    A foreign name that resolves to the loopback is DNS rebinding; a foreign origin is a form or a
    script of another site.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(key.lower().encode(), value.encode()) for key, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        answer = self.app if is_own(Request(scope)) else refuse_foreign
        await answer(scope, receive, send_guarded)


def is_own(request: Request) -> bool:
    """Return whether a request is for our own name, and from no other site's page."""
    hosts = request.headers.getlist("host")
    origin = request.headers.get("origin")
    if len(hosts) != 1 or hosts[0].rsplit(":", 1)[0] not in OWN_HOSTS:
        return False
    return origin in (None, f"http://{hosts[0]}")


async def refuse_foreign(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 403."""
    answer = JSONResponse({"error": "this page is for this machine alone"}, status_code=403)
    await answer(scope, receive, send)


async def say_error(_: Request, error: Exception) -> Response:
    """Answer a wrong request with its status and one line."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def send_file(name: str, kind: str, _: Request) -> Response:
    """Answer with a file of the page."""
    return Response((PAGE / name).read_bytes(), media_type=kind)


class Site:
    """The models and the test images of one start, and what is asked of them."""

    def __init__(self, models: Sequence[ServedModel], samples: Samples) -> None:
        self.models = {model.key: model for model in models}
        self.samples = samples
        self.limiter = anyio.CapacityLimiter(AT_ONCE)

    async def list_models(self, _: Request) -> Response:
        """Answer with the models there are, and the test images."""
        models = [{"key": model.key, "title": model.title} for model in self.models.values()]
        return JSONResponse(
            {"models": models, "samples": self.samples.names, "max_bytes": MAX_BYTES}
        )

    async def send_sample(self, request: Request) -> Response:
        """Answer with a test image."""
        number = request.path_params["number"]
        if number >= len(self.samples.images):
            raise HTTPException(404, "no such test image")
        return Response(encode_png(self.samples.images[number]), media_type="image/png")

    async def predict(self, request: Request) -> Response:
        """Answer what each model that is asked says of the picture."""
        models = self._asked_models(request)
        pixels = await self._read_picture(request)
        answers = [await self._work(model.answer, pixels) for model in models]
        verdict = say_agreement(models, answers)
        height, width = pixels.shape[:2]
        return JSONResponse(
            {"width": width, "height": height, "answers": answers, "verdict": verdict}
        )

    async def explain(self, request: Request) -> Response:
        """Answer where a model looked that finds a class in the picture."""
        (model, *others) = self._asked_models(request)
        if others:
            raise HTTPException(400, "one model at a time can be explained")
        pixels = await self._read_picture(request)
        num_classes = len((await self._work(model.opened)).predictor.info.class_names)
        target = request.query_params.get("class", "")
        if not target.isdecimal() or int(target) >= num_classes:
            raise HTTPException(400, f"class: give a number below {num_classes}")
        return JSONResponse(shrink_heat(await self._work(model.explain, pixels, int(target))))

    def _asked_models(self, request: Request) -> list[ServedModel]:
        keys = request.query_params.getlist("model") or list(self.models)[:1]
        unknown = [key for key in keys if key not in self.models]
        if unknown:
            raise HTTPException(404, f"no model {unknown[0]!r}; GET /models lists them")
        if len(keys) > MAX_MODELS:
            raise HTTPException(400, f"at most {MAX_MODELS} models side by side")
        return [self.models[key] for key in keys]

    async def _read_picture(self, request: Request) -> NDArray[np.uint8]:
        content = await read_body(request)
        pixels: NDArray[np.uint8] = await self._work(decode_upload, content)
        return pixels

    async def _work(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Do what takes time in a thread; what is wrong with the request is told in one line."""
        try:
            return await to_thread.run_sync(partial(action, *arguments), limiter=self.limiter)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        except MemoryError as error:
            raise HTTPException(413, "the picture takes more memory than there is") from error


async def read_body(request: Request) -> bytes:
    """Return a request's body, within bounds of size, time and type."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith(PICTURE_TYPES):
        raise HTTPException(
            415, "send the picture itself, with the Content-Type image/jpeg, image/png or another"
        )
    parts, size = [], 0
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > MAX_BYTES:
                    most = MAX_BYTES // 1_000_000
                    raise HTTPException(413, f"pictures of over {most} MB aren't taken")
    except TimeoutError as error:
        raise HTTPException(408, "the picture took too long to come") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the picture broke off") from error
    return b"".join(parts)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return an image (H, W, 1 or 3) as PNG."""
    content = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(content, "PNG")
    return content.getvalue()


def shrink_heat(heat: NDArray[np.float32]) -> dict[str, Any]:
    """Return a heat map as a page draws it: its side, and values of 0 to 255, a row at a time."""
    side = min(HEAT_SIDE, len(heat))
    picture = Image.fromarray(np.uint8(255 * heat)).resize((side, side), Image.Resampling.BOX)
    return {"side": side, "heat": np.asarray(picture).ravel().tolist()}
