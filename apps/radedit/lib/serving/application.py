"""The server's application: every route, and what stands in front of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from radedit.lib.app import RadEditApp
from radedit.lib.errors import RadEditError
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.supervisor import Crew, Supervisor
from radedit.lib.record import TOOL
from radedit.lib.review import routes as review
from radedit.lib.review.desk import ReviewPlace
from radedit.lib.serving import dicom_web, jobs_api, labelling, login, monai_extras
from radedit.lib.serving.access import SHARED_USER, keepers
from radedit.lib.serving.attempts import Attempts
from radedit.lib.serving.bounds import BodyBounds
from radedit.lib.serving.config import ServerConfig
from radedit.lib.serving.films import Films
from radedit.lib.serving.gate import Gate
from radedit.lib.serving.metrics import CONTENT_TYPE, Metrics
from radedit.lib.serving.places import viewer_folder
from radedit.lib.serving.prefix import Prefix
from radedit.lib.serving.roles import Role
from radedit.lib.serving.viewers import mount_viewers
from radedit.lib.serving.watch import Watch
from radedit_dicom.errors import DicomError

logger = logging.getLogger(__name__)
TITLE: Final = "RadEdit for hospitals"


@dataclass(frozen=True)
class Parts:
    """What the application is put together from.

    Attributes
    ----------
    label_app : films, tasks and the archive
    queue : the jobs; started and stopped with the application
    state : folder of what is kept, such as readings
    crew : the workers to start; None = they are started elsewhere
    is_stopping : whether the server is about to end
    """

    label_app: RadEditApp
    queue: JobQueue
    state: Path
    crew: Crew | None = None
    is_stopping: Callable[[], bool] = lambda: False


def create_app(config: ServerConfig, parts: Parts) -> FastAPI:
    """Put the application together.

    Parameters
    ----------
    config : who is let in, and how much one may ask for
    parts : what it serves
    """
    metrics = Metrics(parts.queue.counts)
    known = keepers(config)
    attempts = Attempts(known)
    films = Films(parts.label_app)
    archive = dicom_web.served_archive(parts.label_app.place, config.studies, films)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        workers = Supervisor(parts.queue, parts.crew) if parts.crew else None
        await anyio.to_thread.run_sync(parts.queue.start)
        try:
            if workers:
                workers.start()
            yield
        finally:
            await archive.close()
            if workers:
                await anyio.to_thread.run_sync(workers.stop)
            await anyio.to_thread.run_sync(parts.queue.stop)

    app = FastAPI(
        title=TITLE,
        version=version(TOOL),
        description="Research and QA only, never diagnosis.",
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from the internet
        redoc_url=None,
    )
    _add_refusals(app)
    _add_state(app, parts, metrics)
    app.include_router(login.create_router(known, attempts))
    app.include_router(monai_extras.create_router(known, attempts))
    place = jobs_api.JobsPlace(
        parts.queue, parts.label_app, films, config.limits, metrics, parts.is_stopping
    )
    app.include_router(jobs_api.create_router(place))
    app.include_router(_review(parts, config.blinded_first))
    app.include_router(archive.router)
    app.include_router(labelling.create_router(parts.label_app, config.limits.inferences))
    mount_viewers(app)
    app.add_middleware(BodyBounds, limits=config.limits)  # the last one added is asked first
    app.add_middleware(Gate, keepers=known, attempts=attempts)
    app.add_middleware(Watch, metrics=metrics)
    app.add_middleware(Prefix, root_path=config.root_path)
    return app


def _review(parts: Parts, blinded_first: bool) -> APIRouter:
    """Make the routes of the review page; who signed in by name is the reader."""
    place = ReviewPlace(
        results=parts.label_app.place.output,
        originals=parts.label_app.place.archive,
        cache=parts.state / "review-cache",
        events=parts.state / "readings.sqlite",
        pages=viewer_folder("review"),
        blinded_first=blinded_first,
    )
    return review.create_router(place, _reader, _sees_all)


def _reader(request: Request) -> str | None:
    """Name the user, unless it is whoever holds the one shared token."""
    user: str = request.state.user
    return None if user in ("", SHARED_USER) else user


def _sees_all(request: Request) -> bool:
    """Say whether the user sees what others have said of an edit."""
    return bool(request.state.role >= Role.ADMIN)


def _add_state(app: FastAPI, parts: Parts, metrics: Metrics) -> None:
    few = anyio.CapacityLimiter(2)

    @app.get("/health", tags=["Server"], summary="Say that the server runs")
    async def health() -> dict[str, Any]:
        # Threads of its own: those of all routes may be waiting for an archive.
        workers = await anyio.to_thread.run_sync(parts.queue.workers, limiter=few)
        shelf = parts.label_app.place.shelf
        told = {"version": version(TOOL), "warm_workers": len(workers)}
        if shelf is None:
            return {"status": "ok", **told}
        archive = "ok" if shelf.is_answering() else "does not answer"
        return {"status": "ok" if archive == "ok" else "degraded", **told, "archive": archive}

    @app.get("/metrics", tags=["Server"], summary="Figures for Prometheus")
    def figures() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)


def _add_refusals(app: FastAPI) -> None:
    """Answer what our code refuses with its own status and its sentence."""

    @app.exception_handler(RadEditError)
    async def refused(_: Request, error: RadEditError) -> Response:
        return JSONResponse({"detail": str(error)}, error.http_status)

    @app.exception_handler(DicomError)
    async def refused_by_dicom(_: Request, error: DicomError) -> Response:
        return JSONResponse({"detail": str(error)}, error.http_status)

    @app.exception_handler(SQLAlchemyError)
    async def without_database(_: Request, error: SQLAlchemyError) -> Response:
        logger.error("the jobs' database failed: %s", type(error).__name__)
        return JSONResponse({"detail": "The jobs' database does not answer; try again."}, 503)

    @app.exception_handler(RequestValidationError)
    async def misread(_: Request, error: RequestValidationError) -> Response:
        """Say what is wrong with the first of the values, and not what the value is."""
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:80]
        return JSONResponse({"detail": f"{where}: {first['msg']}."}, 422)
