"""The review page and its API, as routes that a server mounts.

Nothing here asks who may come in: that is the server's part. A server that knows its users
by name hands in `identify`; without it, readers say who they are.
"""

# Annotations are evaluated here: FastAPI could not look up those that name a local dependency.

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict

from radedit.lib.errors import NotFoundError, ParameterError, RadEditError
from radedit.lib.review import pictures
from radedit.lib.review.agreement import DECISIONS, agreements, detections
from radedit.lib.review.desk import Identify, Review, ReviewPlace, Shown, told
from radedit.lib.review.events import Event, Said
from radedit.lib.review.export import as_csv, as_report
from radedit_dicom.archive import Query as Scope
from radedit_dicom.errors import DicomError
from radedit_dicom.readback import part10

#: The page's own files, by the name under /review/files/.
FILES: Final[Mapping[str, str]] = {
    "review.css": "text/css",
    "review.mjs": "text/javascript",
    "stage.mjs": "text/javascript",
    "about.mjs": "text/javascript",
    "api.mjs": "text/javascript",
}
#: A picture of a UID never changes; it is kept by the reader's own browser only.
_KEEP = {"Cache-Control": "private, max-age=3600"}
_NO_STORE = {"Cache-Control": "no-store"}
Side = Annotated[int, Query(description="longest side of the picture in pixels")]


class SaidBody(BaseModel):
    """What a reader says, as JSON; see `Said`."""

    model_config = ConfigDict(extra="forbid")
    reader: str = ""
    kind: str
    answer: str = ""
    reason: str = ""


def create_router(
    place: ReviewPlace,
    identify: Identify | None = None,
    sees_all: Callable[[Request], bool] = lambda _: True,
) -> APIRouter:
    """Make the routes under /review.

    Parameters
    ----------
    place : what is reviewed, and where readings go
    identify : names the user of a request, where the server knows one; that name then counts,
        whatever the page says
    sees_all : whether the user of a request sees what others have said; who does not sees only
        what was said under the name that `identify` gives

    Raises
    ------
    OutputError
        The file of readings cannot be made.
    """
    review = Review(place, identify)
    router = APIRouter(prefix="/review", tags=["review"], dependencies=[Depends(_refusals)])
    _add_pages(router, review)
    _add_reading(router, review)
    _add_export(router, review, lambda request: _seen(request, review, identify, sees_all))
    return router


def _add_pages(router: APIRouter, review: Review) -> None:
    @router.get("/", include_in_schema=False)
    def with_a_slash() -> Response:
        return RedirectResponse("../review", 308)  # the page's links are relative to its address

    @router.get("", include_in_schema=False)
    def page() -> Response:
        return FileResponse(review.place.pages / "index.html", media_type="text/html")

    @router.get("/files/{name}", include_in_schema=False)
    def file(name: str) -> Response:
        if name not in FILES:
            raise NotFoundError("The review page has no such file.")
        return FileResponse(review.place.pages / name, media_type=FILES[name])


def _add_reading(router: APIRouter, review: Review) -> None:
    def reader_of(request: Request, reader: str = "") -> str:
        return review.reader(request, reader)

    reader_query = Annotated[str, Depends(reader_of)]

    def checked(reader: str, uid: str) -> None:
        if not review.may_know(reader, uid):
            raise HTTPException(403, "Say first which of the two pictures you take for edited.")

    @router.get("/api/edits")
    def edits(reader: reader_query, blinded: bool = False) -> dict[str, Any]:
        """List the edits, with what this reader has said of each."""
        return review.listing(reader, blinded)

    @router.get("/api/edits/{uid}")
    def edit(uid: str, reader: reader_query) -> dict[str, Any]:
        """Tell everything about an edit."""
        checked(reader, uid)
        return review.details(reader, uid)

    @router.get("/api/edits/{uid}/pictures/{shown}.png", response_class=Response)
    def picture(uid: str, shown: Shown, reader: reader_query, side: Side = 1200) -> Response:
        """Draw the film, the edited image, a mask's outline or the difference."""
        checked(reader, uid)
        content = review.picture(uid, shown, _checked_side(side))
        return Response(content, media_type="image/png", headers=_KEEP)

    @router.get("/api/edits/{uid}/blinded/{which}.png", response_class=Response)
    def blinded(
        uid: str, which: Literal["a", "b"], reader: reader_query, side: Side = 1200
    ) -> Response:
        """Draw one of the two images without saying which."""
        is_edited = which == review.events.edited_side(reader, uid)
        content = review.picture(uid, "edited" if is_edited else "original", _checked_side(side))
        return Response(content, media_type="image/png", headers=_NO_STORE)

    @router.post("/api/edits/{uid}/events", status_code=201)
    def say(request: Request, uid: str, body: SaidBody) -> dict[str, Any]:
        """Write down what a reader says; it cannot be taken back, only followed by more."""
        reader = review.reader(request, body.reader)
        said = Said(reader, body.kind, body.answer, body.reason.strip())
        subject = review.cases.subject(uid)
        if body.kind != "blinded":
            checked(reader, uid)
        return told(review.events.add(said, subject))


def _seen(
    request: Request,
    review: Review,
    identify: Identify | None,
    sees_all: Callable[[Request], bool],
) -> list[Event]:
    """List the events that a user may see."""
    said = review.events.events()
    if sees_all(request):
        return said
    name = identify(request) if identify else None
    return [event for event in said if name and event.reader == name]


def _add_export(router: APIRouter, review: Review, seen: Callable[[Request], list[Event]]) -> None:
    def event_of(request: Request, number: int) -> tuple[Event, list[Event]]:
        event, others = review.event(number)
        if event not in seen(request):
            raise HTTPException(403, "This is another reader's; admins see everybody's readings.")
        return event, others

    @router.get("/api/agreement")
    def agreement(request: Request) -> dict[str, Any]:
        """Compare the readers: Cohen's kappa of every two, and what each saw when blinded."""
        said = seen(request)
        return {
            "decisions": DECISIONS,
            "pairs": [asdict(pair) for pair in agreements(said)],
            "detections": [asdict(each) for each in detections(said)],
            "first_changed": review.events.first_changed(),
        }

    @router.get("/api/events.csv", response_class=Response)
    def table(request: Request) -> Response:
        """Give every event that the user may see as a table."""
        headers = {"Content-Disposition": 'attachment; filename="radedit-readings.csv"'} | _NO_STORE
        return Response(as_csv(seen(request)), media_type="text/csv", headers=headers)

    @router.get("/api/events/{number}/report.dcm", response_class=Response)
    def report(number: int, request: Request) -> Response:
        """Give a decision as a DICOM report."""
        event, others = event_of(request, number)
        content = part10(as_report(event, others, review.cases.opened(event.sop_instance_uid)))
        headers = {"Content-Disposition": f'attachment; filename="reading-{number}.dcm"'}
        return Response(content, media_type="application/dicom", headers=headers | _NO_STORE)

    @router.post("/api/events/{number}/report", status_code=201)
    def store(number: int, request: Request) -> dict[str, str]:
        """Store a decision's DICOM report beside the edit it is about."""
        event, others = event_of(request, number)
        built = as_report(event, others, review.cases.opened(event.sop_instance_uid))
        held = review.place.results.find(Scope(sop_instance_uid=str(built.SOPInstanceUID)))
        stored = held[0] if held else review.place.results.store([built])[0]
        return {
            "study": stored.study_instance_uid,
            "series": stored.series_instance_uid,
            "instance": stored.sop_instance_uid,
        }


def _checked_side(side: int) -> int:
    if side not in pictures.SIDES:
        raise ParameterError(f"A picture's side is one of {', '.join(map(str, pictures.SIDES))}.")
    return side


def _refusals() -> Iterator[None]:
    """Answer what is refused with the error's own status and sentence."""
    try:
        yield
    except (RadEditError, DicomError) as error:
        raise HTTPException(error.http_status, str(error)) from error


__all__ = ["ReviewPlace", "create_router"]
