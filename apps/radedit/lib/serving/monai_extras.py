"""What MONAI Label's clients ask of a server beside its tasks and films.

Its own routes for these are left out (`labelling`): its sign-in does not work with a current
PyJWT, its log holds names of films, its proxy and its viewer are ours under other paths.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, Final

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response

from radedit.lib.log_output import recent_lines
from radedit.lib.serving.access import Keeper
from radedit.lib.serving.attempts import Attempts
from radedit.lib.serving.messages import RefusedError
from radedit.lib.serving.roles import Role

#: What MONAI Label calls our roles, as its viewers ask for them.
_ROLES: Final = {
    Role.READER: "monailabel-user",
    Role.EDITOR: "monailabel-annotator",
    Role.ADMIN: "monailabel-admin",
}
_GPU_S: Final = 20


def create_router(keepers: Sequence[Keeper], attempts: Attempts) -> APIRouter:
    """Make the routes.

    Parameters
    ----------
    keepers : who knows tokens; empty = nobody needs one
    attempts : asked about every token
    """
    router = APIRouter()
    _add_sign_in(router, keepers, attempts)
    _add_logs(router)
    _add_redirections(router)
    return router


def _add_sign_in(router: APIRouter, keepers: Sequence[Keeper], attempts: Attempts) -> None:
    @router.get("/auth", include_in_schema=False)
    @router.get("/auth/", tags=["Auth"], summary="Say whether a token is needed")
    async def enabled() -> dict[str, Any]:
        return {"enabled": bool(keepers), "client_id": "radedit", "realm": ""}

    @router.post("/auth/token", tags=["Auth"], summary="Sign in; the password is the token")
    async def token(request: Request) -> dict[str, Any]:
        async with request.form(max_files=0, max_fields=12) as form:
            password = str(form.get("password", ""))
        if not keepers:
            return {"access_token": "", "token_type": "bearer"}
        try:
            user = await attempts.user(request.scope, password)
        except RefusedError as why:
            raise HTTPException(why.status, why.sentence) from None
        if user is None:
            raise HTTPException(401, "That is no token of this server; give it as the password.")
        return {"access_token": password, "token_type": "bearer"}

    @router.get("/auth/token/valid", tags=["Auth"], summary="Say who a token is")
    async def valid(request: Request) -> dict[str, Any]:
        name, role = request.state.user, request.state.role
        return {
            "username": name or "admin",
            "email": None,
            "name": name or None,
            "roles": [known for held, known in _ROLES.items() if held <= role],
        }


def _add_logs(router: APIRouter) -> None:
    @router.get("/logs", include_in_schema=False)
    @router.get("/logs/", tags=["Server"], summary="The last lines of the log, without any UID")
    def logs(lines: int = Query(300, ge=0, description="0 = all that are held")) -> Response:
        return Response(
            "".join(f"{line}\n" for line in recent_lines(lines)), media_type="text/plain"
        )

    @router.get("/logs/gpu", tags=["Server"], summary="What nvidia-smi says")
    async def gpu() -> Response:
        program = shutil.which("nvidia-smi")
        if program is None:
            raise HTTPException(404, "This server has no nvidia-smi, so it has no GPU to tell of.")
        run = await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                [program], capture_output=True, text=True, timeout=_GPU_S, check=False
            )
        )
        return Response(run.stdout, media_type="text/plain")


def _add_redirections(router: APIRouter) -> None:
    """Send to where this server has what MONAI Label's has elsewhere."""

    def elsewhere(path: str, request: Request) -> Response:
        query = request.url.query
        return RedirectResponse(f"{path}?{query}" if query else path, 307)

    @router.get("/ohif", include_in_schema=False)
    @router.get("/ohif/{path:path}", include_in_schema=False)
    def viewer(request: Request, path: str = "") -> Response:
        return elsewhere(f"/{path.lstrip('/')}", request)

    @router.api_route("/proxy/dicom/{path:path}", methods=["GET", "POST"], include_in_schema=False)
    def archive(request: Request, path: str) -> Response:
        return elsewhere(f"/dicom-web/{path.lstrip('/')}", request)
