"""The routes of jobs: submit, list, follow, result, cancel, retry; and what a form needs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse, Response, StreamingResponse

from radedit.lib.app import RadEditApp
from radedit.lib.errors import JobStateError, NotFoundError
from radedit.lib.infers.task_masks import known_tasks
from radedit.lib.jobs.checks import plan_of
from radedit.lib.jobs.model import Job, State
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.serving.checks import JobCheck
from radedit.lib.serving.config import Limits
from radedit.lib.serving.films import Films
from radedit.lib.serving.metrics import Metrics
from radedit.lib.serving.roles import Role
from radedit.lib.serving.submission import job_request, parsed, schema
from radedit.lib.sources import EMBEDDED_TASKS
from radedit_dicom.uids import UID_LENGTH, UID_PATTERN

LOOK_S: Final = 0.2  # how often a followed job is looked at
SAY_S: Final = 1.0  # a follower hears of a job at least this often, changed or not
_PROMPTS: Final = Path(__file__).resolve().parents[2] / "configs" / "prompts.toml"
_EMBEDDED_LABELS: Final = {
    "heart_segmentation": {"heart": "heart"},
    "lung_segmentation": {"left": "left lung", "right": "right lung"},
}
JobId = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]
Uid = Annotated[
    str,
    Query(
        pattern=f"^{UID_PATTERN}$",
        max_length=UID_LENGTH,
        description="SOP Instance UID of a film",
    ),
]
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The request is wrong; the sentence says how"},
    401: {"description": "There is no token, or a wrong one"},
    404: {"description": "There is no such job, film or model"},
    409: {"description": "The job is in another state"},
    413: {"description": "The body is too long"},
}


@dataclass(frozen=True)
class JobsPlace:
    """What the routes work on.

    Attributes
    ----------
    queue : the jobs
    app : the MONAI Label app, for the films and the tasks that there are
    films : its films by UID
    limits : of a request
    metrics : counts who follows
    is_stopping : whether the server is about to end, and streams should too
    """

    queue: JobQueue
    app: RadEditApp
    films: Films
    limits: Limits
    metrics: Metrics
    is_stopping: Callable[[], bool]


def create_router(place: JobsPlace) -> APIRouter:
    """Make the routes under /radedit."""
    router = APIRouter(prefix="/radedit", tags=["Jobs"], responses=_REFUSALS)
    _add_submission(router, place)
    _add_looks(router, place)
    _add_changes(router, place)
    _add_forms(router, place)
    return router


def _add_submission(router: APIRouter, place: JobsPlace) -> None:
    checks = JobCheck(place.app.editor.settings, place.app.place)

    def submitted(body: bytes, user: str) -> tuple[Job, bool]:
        wanted = job_request(parsed(body), place.limits, place.films.find, user)
        plan_of(wanted, place.app.editor.settings)
        checks.check(wanted, known_tasks(place.app.tasks))
        return place.queue.submit(wanted)

    @router.post(
        "/jobs",
        status_code=202,
        summary="Ask for an edit",
        responses={200: {"description": "The same request is a job already"}},
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema()}}}
        },
    )
    async def submit(request: Request) -> Response:
        body = await request.body()
        job, is_new = await anyio.to_thread.run_sync(submitted, body, request.state.user)
        return JSONResponse(job.as_json(), 202 if is_new else 200)


def _add_looks(router: APIRouter, place: JobsPlace) -> None:
    @router.get("/jobs", summary="List jobs, the newest first")
    def listing(
        state: Annotated[list[State] | None, Query(description="only these")] = None,
        image: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        found = place.queue.list(state or (), image or None, limit)
        return JSONResponse({"jobs": [job.as_json() for job in found]})

    @router.get("/jobs/{job}", summary="Look at a job")
    def look(job: JobId) -> Response:
        return JSONResponse(place.queue.get(job).as_json())

    @router.get("/jobs/{job}/result", summary="Get what a job has made")
    def result(job: JobId) -> Response:
        found = place.queue.get(job)
        if found.result is None:
            raise JobStateError(f"The job is {found.state} and has no result.")
        return JSONResponse(dict(found.result))

    @router.get(
        "/jobs/{job}/events",
        summary="Follow a job by server-sent events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def events(job: JobId) -> Response:
        first = await anyio.to_thread.run_sync(place.queue.get, job)
        return StreamingResponse(
            _followed(first, place),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )


async def _followed(job: Job, place: JobsPlace) -> AsyncIterator[str]:
    """Say how a job stands when that changes, and every `SAY_S`, until it has ended."""
    place.metrics.streams.inc()
    try:
        while True:
            yield _event("progress", job.as_json())
            if job.has_ended:
                yield _event("end", job.as_json())
                return
            with anyio.move_on_after(SAY_S):
                while await anyio.to_thread.run_sync(place.queue.version, job.id) == job.version:
                    if place.is_stopping():
                        return
                    await anyio.sleep(LOOK_S)
            if place.is_stopping():
                return
            job = await anyio.to_thread.run_sync(place.queue.get, job.id)
    except NotFoundError as error:  # discarded meanwhile
        yield _event("end", {"id": job.id, "state": "discarded", "error": str(error)})
    finally:
        place.metrics.streams.dec()


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _add_changes(router: APIRouter, place: JobsPlace) -> None:
    def check_owner(job: str, request: Request) -> None:
        owner = place.queue.get(job).request.get("user", "")
        if request.state.role < Role.ADMIN and owner != request.state.user:
            raise HTTPException(
                403, "This job is somebody else's; they or an admin can cancel it or try it again."
            )

    @router.delete("/jobs/{job}", summary="Cancel a job")
    def cancel(job: JobId, request: Request) -> Response:
        check_owner(job, request)
        return JSONResponse(place.queue.cancel(job).as_json())

    @router.post("/jobs/{job}/retry", status_code=202, summary="Try a job again")
    def retry(job: JobId, request: Request) -> Response:
        check_owner(job, request)
        return JSONResponse(place.queue.retry(job).as_json(), 202)


def _add_forms(router: APIRouter, place: JobsPlace) -> None:
    prompts = prompt_list()

    @router.get("/options", summary="What a form for an edit offers")
    def options() -> Response:
        settings = place.app.editor.settings
        task = place.app.tasks.get("radedit")
        if task is None:
            raise NotFoundError("This server offers no edits; start it with --conf models all.")
        config = task.config()
        return JSONResponse(
            {
                "parameters": config["parameters"],
                "models": config["edit_model"],
                "mask_tasks": _mask_tasks(place.app),
                "prompts": prompts,
                "findings": list(settings.model().knows),
            }
        )

    @router.get("/images", summary="Name the image of a film")
    def image(sop_instance_uid: Uid) -> Response:
        return JSONResponse({"image": place.films.find("", sop_instance_uid)})

    @router.get("/edits", summary="List the edits of a film that the archive holds")
    def edits(sop_instance_uid: Uid) -> Response:
        return JSONResponse({"edits": place.films.edits(sop_instance_uid)})


def prompt_list() -> list[dict[str, str]]:
    """Give the suggested prompts with their groups."""
    groups = tomllib.loads(_PROMPTS.read_text(encoding="utf-8"))["groups"]
    return [{"text": text, "group": group["name"]} for group in groups for text in group["prompts"]]


def _mask_tasks(app: RadEditApp) -> list[dict[str, Any]]:
    """Name the tasks that masks come from, their labels, and what people call those."""
    titles = {name: _EMBEDDED_LABELS.get(name, {}) for name in EMBEDDED_TASKS}
    for name, task in app.tasks.items():
        if name != "radedit" and name not in titles:
            titles[name] = {str(label): str(label) for label in (task.labels or {})}
    return [
        {"name": name, "labels": list(found), "titles": list(found.values())}
        for name, found in sorted(titles.items())
    ]
