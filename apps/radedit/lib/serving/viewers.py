"""The viewers' files: OHIF as it was built, our extension and mode for it, its configuration."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from radedit.lib.serving.places import ohif_folder, viewer_folder

_INLINE: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_MISSING: Final = """\
<!doctype html><html lang="en"><head><meta charset="utf-8"><title>RadEdit</title></head><body>
<h1>RadEdit for hospitals</h1><p>The server runs; the OHIF viewer is not there. Run
scripts/fetch-ohif, then start the server again. <a href="/review">The review page</a> works
without it.</p></body></html>
"""


def mount_viewers(app: FastAPI) -> None:
    """Add the viewers' files; last of all, since OHIF answers at every path that is left.

    Parameters
    ----------
    app : the server
    """
    own, ohif = viewer_folder("ohif"), ohif_folder()

    @app.get("/app-config.js", include_in_schema=False)
    def configuration() -> Response:
        # Never OHIF's own: that one names archives on the internet.
        path = own / "app-config.js"
        if not path.is_file():
            raise HTTPException(404, "The viewer's configuration is not installed.")
        return FileResponse(
            path, media_type="text/javascript", headers={"cache-control": "no-cache"}
        )

    if own.is_dir():
        app.mount("/radedit", _Files(directory=own), name="radedit")
    if (ohif / "index.html").is_file():
        app.mount("/", _Viewer(ohif), name="ohif")
    else:

        @app.get("/", include_in_schema=False)
        def missing() -> Response:
            return HTMLResponse(_MISSING)


class _Files(StaticFiles):
    """Files that a browser asks about anew each time, and need not fetch anew."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers.setdefault("cache-control", "no-cache")
        return answer


class _Viewer(_Files):
    """OHIF: its files, and its one page wherever a person goes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        self._policy = _policy((folder / "index.html").read_text(encoding="utf-8"))

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            answer = await super().get_response("index.html" if path == "." else path, scope)
        except StarletteHTTPException as error:
            if error.status_code != 404 or not _wants_page(scope):
                raise
            answer = await super().get_response("index.html", scope)
        answer.headers["content-security-policy"] = self._policy
        return answer


def _wants_page(scope: Scope) -> bool:
    accept = b"".join(value for name, value in scope["headers"] if name == b"accept")
    return b"text/html" in accept


def _policy(page: str) -> str:
    """Write the content security policy that OHIF works under.

    Beyond this origin it needs: its page's few inline scripts, by their hashes; WebAssembly, in
    which the image codecs are; code made of strings, since its reader of segmentations compiles
    its array accesses (ndarray) and shows no mask without; style attributes and elements, which
    React and cornerstone write; workers that it makes of blobs; pictures and fonts in data
    addresses.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in _INLINE.findall(page)
    )
    return (
        f"default-src 'self'; script-src 'self' 'unsafe-eval' {hashes}; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "worker-src 'self' blob:; connect-src 'self' data: blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
