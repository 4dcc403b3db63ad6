"""MONAI Label's API as its clients know it, each call in a thread of its own.

MONAI Label's endpoints are coroutines that never wait for anything: called as they are, an
inference would hold up every other request. Left out of its API are the routes that are
broken, unsafe or not for this server: its proxy, its viewer, its own sign-in, its log, whole
slide images.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import torch
from fastapi import APIRouter, HTTPException
from fastapi.encoders import jsonable_encoder
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from monailabel.config import settings as monai_settings
from monailabel.endpoints import (
    activelearning,
    batch_infer,
    datastore,
    infer,
    info,
    model,
    scoring,
    session,
    train,
)
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.utils.app import apps
from starlette.background import BackgroundTask

from radedit.lib.app import RadEditApp
from radedit.lib.serving.config import ServerConfig
from radedit.lib.serving.label_forms import as_segmentation, image_of_bytes

_APP_DIR: Final = Path(__file__).resolve().parents[2]
_LIGHT: Final = (info, model, train, activelearning, scoring, datastore, session)
_HEAVY: Final = (infer, batch_infer)
_PROMPT: Final = 4  # threads kept for /info, while all others may be waiting for an archive
# A model's file can be code; who may put it there is who may write the folder itself.
_LEFT_OUT: Final = frozenset({("PUT", "/model/{model}"), ("DELETE", "/model/{model}")})
# Path to the parameter that names a task, and to where `info` lists those tasks.
_STARTING: Final[Mapping[str, tuple[str, str]]] = {
    "/batch/infer/{model}": ("model", "models"),
    "/train/{model}": ("model", "trainers"),
    "/scoring/{method}": ("method", "scoring"),
}
_JSON_FIELDS: Final = frozenset({"info", "params"})
_SESSION: Final = re.compile(r"[0-9a-fA-F-]{36}")
# What MONAI Label answers with a bare 500 though the request is to blame.
_BLAMED: Final[Mapping[str, int]] = {
    "Neither Image nor File not Session ID input is provided": 400,
    "Error processing inference": 400,
}


def label_app(config: ServerConfig) -> RadEditApp:
    """Make the app and let MONAI Label's own endpoints find it; there is one of a process.

    Raises
    ------
    SystemExit
        The configuration is refused; its text is the sentence why.
    """
    folder, studies = str(_APP_DIR), config.studies
    monai_settings.MONAI_LABEL_APP_DIR = folder
    monai_settings.MONAI_LABEL_STUDIES = studies
    monai_settings.MONAI_LABEL_APP_CONF = dict(config.conf)
    # Its batch and training tasks are processes of their own that read these again.
    os.environ["MONAI_LABEL_APP_DIR"] = folder
    os.environ["MONAI_LABEL_STUDIES"] = studies
    os.environ["MONAI_LABEL_APP_CONF"] = json.dumps(dict(config.conf))
    os.environ.setdefault("PYTHONPATH", "")  # without one they fail
    app = RadEditApp(app_dir=folder, studies=studies, conf=config.conf)
    app.server_mode(True)
    app.on_init_complete()
    infer.binary_to_image = image_of_bytes  # its own reads volumes, and gets films wrong
    apps.clear()
    apps[f"{folder}{studies}"] = app
    return app


def create_router(app: RadEditApp, inferences: int) -> APIRouter:
    """Make the routes of MONAI Label's API.

    Parameters
    ----------
    app : of `label_app`
    inferences : how many inferences run at once; others wait, and hold up nobody else
    """
    router = APIRouter()
    heavy, prompt = anyio.CapacityLimiter(inferences), anyio.CapacityLimiter(_PROMPT)
    for module in (*_LIGHT, *_HEAVY):
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            limiter = heavy if module in _HEAVY and "POST" in (route.methods or ()) else None
            limiter = prompt if module is info else limiter
            _add(router, route, limiter, app)
    return router


def _add(
    router: APIRouter, route: APIRoute, limiter: anyio.CapacityLimiter | None, app: RadEditApp
) -> None:
    methods = sorted(m for m in route.methods or () if (m, route.path) not in _LEFT_OUT)
    # Its server sends from either path to the other one; here the viewer answers what is left.
    other = route.path.removesuffix("/") if route.path.endswith("/") else f"{route.path}/"
    for path in (route.path, other) if methods else ():
        router.add_api_route(
            path,
            _in_thread(_named(route, app), limiter),
            methods=methods,
            summary=route.summary,
            tags=route.tags,
            include_in_schema=route.include_in_schema and path == route.path,
            responses=route.responses,
            name=route.name,
        )


def _in_thread(
    endpoint: Callable[..., Any], limiter: anyio.CapacityLimiter | None
) -> Callable[..., Awaitable[Response]]:
    """Run an endpoint, and turn what it gives into bytes, off the event loop."""

    async def run(**values: Any) -> Response:
        return await anyio.to_thread.run_sync(_answer, endpoint, values, limiter=limiter)

    run.__name__ = endpoint.__name__
    run.__doc__ = endpoint.__doc__
    run.__signature__ = inspect.signature(endpoint)  # type: ignore[attr-defined]
    return run


def _named(route: APIRoute, app: RadEditApp) -> Callable[..., Any]:
    """Let a route that starts a process of its own do so only for a task that there is."""
    endpoint = route.endpoint
    if route.path == "/infer/{model}":
        return _inferring(endpoint, app)
    if route.path not in _STARTING:
        return endpoint
    name, kind = _STARTING[route.path]

    @functools.wraps(endpoint)
    async def known_only(**values: Any) -> Any:
        if values[name] not in app.info()[kind]:
            raise HTTPException(404, "There is no such task; GET /info lists them.")
        if kind == "models" and not torch.cuda.is_available():
            # Its default, which divides by the number of GPUs.
            values["params"] = {**(values.get("params") or {}), "multi_gpu": False}
        return await endpoint(**values)

    return known_only


def _inferring(endpoint: Callable[..., Any], app: RadEditApp) -> Callable[..., Any]:
    """Let a task answer with a DICOM SEG: MONAI Label makes one for CT series of its own only."""

    @functools.wraps(endpoint)
    async def infer_once(**values: Any) -> Any:
        if values.get("output") != "dicom_seg":
            return await endpoint(**values)
        found = await endpoint(**{**values, "output": infer.ResultType.image})
        return as_segmentation(app, values["model"], values["image"], values["params"], found)

    return infer_once


def _answer(endpoint: Callable[..., Any], values: dict[str, Any]) -> Response:
    """Call an endpoint; what it answers with a bare 500 though the request is to blame is a 4xx."""
    try:
        found = _finished(endpoint(**_checked(values)))
    except HTTPException as error:
        status = _BLAMED.get(str(error.detail), error.status_code)
        raise HTTPException(status, error.detail) from None
    except MONAILabelException as error:
        raise HTTPException(
            404, "There is no such task or strategy; GET /info lists them."
        ) from error
    except AssertionError as error:  # of a ZIP file without anything in it
        raise HTTPException(404, "There are no labelled films to hand out.") from error
    if isinstance(found, FileResponse) and not Path(found.path).is_file():
        raise HTTPException(404, "There is no such file.")
    if isinstance(found, FileResponse) and endpoint is datastore.api_download_dataset:
        found.background = BackgroundTask(os.unlink, found.path)  # or films would stay behind
    return found if isinstance(found, Response) else JSONResponse(jsonable_encoder(found))


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """Check what MONAI Label takes as it comes.

    Raises
    ------
    fastapi.HTTPException
        400: a form field that must hold a JSON object holds none, or an archive shall be
        unpacked, which can write anywhere; 404: a session's id is none, or might be a path.
    """
    if values.get("uncompress"):
        raise HTTPException(400, "Archives are not unpacked here; send the film itself.")
    for name in _JSON_FIELDS & values.keys():
        if isinstance(values[name], str) and not _is_object(values[name]):
            raise HTTPException(400, f"{name} is no JSON object; send {{...}}.")
    session_id = values.get("session_id")
    if session_id and not _SESSION.fullmatch(session_id):
        raise HTTPException(404, "There is no such session.")
    return values


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except (ValueError, RecursionError):
        return False


def _finished(coroutine: Any) -> Any:
    """Give what a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise RuntimeError("an endpoint of MONAI Label waits for something, which none did before")
