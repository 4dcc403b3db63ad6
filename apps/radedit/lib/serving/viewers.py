"""The viewers' files: OHIF as it was built, our extension and mode for it, its configuration."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from html import escape
from pathlib import Path
from typing import Final

import anyio.to_thread
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from radedit.lib.serving.places import ohif_folder, viewer_folder
from radedit.lib.serving.prefix import prefix_of

_INLINE: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_TEXTS: Final = frozenset({".html", ".js", ".css", ".json"})
_AT_ROOT: Final = re.compile(
    r'((?:href|src|content|PUBLIC_URL)="|__webpack_require__\.p = "|url\(|'
    r'"(?:src|start_url)": ")/(?!/)'
)
_MISSING: Final = """\
<!doctype html><html lang="en"><head><meta charset="utf-8"><title>RadEdit</title></head><body>
<h1>RadEdit for hospitals</h1><p>The server runs; the OHIF viewer is not there. Run
scripts/fetch-ohif, then start the server again. <a href="{prefix}/review">The review page</a> works
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
        def missing(request: Request) -> Response:
            return HTMLResponse(_MISSING.format(prefix=escape(prefix_of(request.scope))))


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
        self._page = (folder / "index.html").read_text(encoding="utf-8")
        self._policy = functools.lru_cache(8)(lambda prefix: _policy(below(self._page, prefix)))

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            answer = await super().get_response("index.html" if path == "." else path, scope)
        except StarletteHTTPException as error:
            if error.status_code != 404 or not _wants_page(scope):
                raise
            answer = await super().get_response("index.html", scope)
        prefix = prefix_of(scope)
        answer.headers["content-security-policy"] = self._policy(prefix)
        if prefix and isinstance(answer, FileResponse) and answer.status_code == 200:
            return await anyio.to_thread.run_sync(_below, answer, prefix)
        return answer


def below(text: str, prefix: str) -> str:
    """Have a text of OHIF's build, which was made for the root, name what lies below a prefix.

    Its page names its files and `PUBLIC_URL`, its scripts where further ones are, its styles
    their fonts.
    """
    return _AT_ROOT.sub(lambda found: f"{found[1]}{prefix}/", text)


def _below(answer: FileResponse, prefix: str) -> Response:
    """Give a file of OHIF's as it must be below a prefix; its etag stays, its address tells."""
    path = Path(answer.path)
    if path.suffix not in _TEXTS:
        return answer
    text = path.read_text(encoding="utf-8")
    if not _AT_ROOT.search(text):
        return answer
    kept = {k: v for k, v in answer.headers.items() if k not in ("content-length", "content-type")}
    return Response(below(text, prefix), 200, kept, answer.media_type)


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
