"""What people see: Chromium on the real server, the embedded model, and a real Orthanc."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import missing
from orthanc import Orthanc
from playwright.sync_api import Browser, Page, expect, sync_playwright
from radedit_server import radedit_server
from viewer_pages import PICTURES, Place, Shown, real_film

from radedit.lib.serving.places import ohif_folder
from radedit_dicom.readback import part10

TOKEN = "a-token-that-only-this-test-knows"
SLOW_MS = 120_000  # a busy machine draws without a graphics card


@pytest.fixture(scope="session")
def chromium(peer: Callable[[str], str]) -> Iterator[Browser]:
    """Give Debian's Chromium."""
    program = peer("chromium")
    expect.set_options(timeout=SLOW_MS)
    with sync_playwright() as playwright:
        playwright.selectors.set_test_id_attribute("data-cy")  # as OHIF marks its parts
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def place(
    start_orthanc: Callable[..., Orthanc],
    new_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
    rg1: Path,
) -> Iterator[Place]:
    """Serve an Orthanc that holds a film of each kind."""
    if not (ohif_folder() / "index.html").is_file():
        missing("needs the OHIF viewer (scripts/fetch-ohif)")
    orthanc, films = start_orthanc(), {}
    for kind in ("monochrome1", "monochrome2"):
        film = real_film(rg1, kind)
        orthanc.upload(part10(film))
        films[kind] = Shown(
            kind, str(film.StudyInstanceUID), str(film.SOPInstanceUID), (film.Rows, film.Columns)
        )
    folder = tmp_path_factory.mktemp("viewers")
    with radedit_server(
        folder, new_port(), "--conf", f"cache={folder / 'films'}",
        studies=orthanc.dicom_web, token=TOKEN,
    ) as server:  # fmt: skip
        yield Place(server, orthanc, films)


@pytest.fixture
def page(chromium: Browser, place: Place) -> Iterator[Page]:
    """Open a window that is signed in; an error on the page fails the test."""
    size = {"width": 1600, "height": 950} if PICTURES else {"width": 1100, "height": 700}
    context = chromium.new_context(viewport=size)  # type: ignore[arg-type]
    context.set_default_timeout(SLOW_MS)
    context.add_init_script('localStorage.setItem("shownTours", \'["basicViewerTour"]\')')
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(f"a dialog: {dialog.message}"))
    page.goto(f"{place.server.url}/login")
    page.get_by_label("Token of this server").fill(TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"^(?!.*login).*$"), wait_until="commit")
    yield page
    context.close()
    assert faults == []
