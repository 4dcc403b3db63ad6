"""OHIF with our panel, as a person works with it: worklist, film, mask, prompt, result."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, Route, expect
from radedit_server import radedit_server
from viewer_pages import PICTURES, Place, Shown, count_of, keep_picture, seen

from radedit.lib.phantom.studies import Order, write_studies
from radedit_dicom.parsing import parse
from radedit_dicom.pixels import read_film
from radedit_dicom.provenance import read_private
from radedit_dicom.segment_reader import read_segmentation
from radedit_dicom.vocabulary import EDIT_COLOUR, KEEP_COLOUR

FRESH_PAGES = int(os.environ.get("TEST_FRESH_PAGES", "3"))  # a race shows in some pages only
OPENED = 5  # edits, one after the other in a page
FRAME_PX = 4  # of a viewport, in a colour near that of the keep mask
AT = (0.26, 0.58)  # where the edit mask is drawn: share of the film's columns and rows


def panel(page: Page) -> Locator:
    return page.get_by_role("region", name="RadEdit")


def viewports(page: Page) -> Locator:
    return page.locator(".cornerstone-viewport-element")


def open_film(page: Page, place: Place, film: Shown) -> None:
    """Open a film with the panel, by its address."""
    page.goto(f"{place.server.url}/radedit-edit?StudyInstanceUIDs={film.study}")
    expect(panel(page).get_by_label("steps")).to_be_visible()
    expect(page.get_by_text("W:").first).to_be_visible()
    expect(panel(page).get_by_role("button", name="Run", exact=True)).to_be_enabled()


def on_film(page: Page, film: Shown, share: tuple[float, float]) -> tuple[float, float]:
    """Say where on the screen a place of the film is, which fills its viewport."""
    box = viewports(page).first.bounding_box()
    assert box is not None
    rows, columns = film.shape
    scale = min(box["width"] / columns, box["height"] / rows)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    across, down = (share[0] - 0.5) * columns * scale, (share[1] - 0.5) * rows * scale
    return middle[0] + across, middle[1] + down


def draw(page: Page, film: Shown, which: str, share: tuple[float, float]) -> None:
    """Draw a dot of a mask with the brush."""
    panel(page).get_by_role("button", name=f"Draw the {which} mask").click()
    panel(page).get_by_label("Brush size").fill("0.08")
    x, y = on_film(page, film, share)
    page.mouse.move(x, y - 12)
    page.mouse.down()
    page.mouse.move(x, y + 12)
    page.mouse.up()


def run(page: Page) -> None:
    panel(page).get_by_role("button", name="Run", exact=True).click()


def wait_until_done(page: Page) -> None:
    said = panel(page).get_by_role("status").filter(has_text=re.compile("Done in|[a-z]{3}.*[.;]$"))
    expect(said).to_contain_text("Done in")


def beside_each_other(page: Page) -> tuple[np.ndarray, np.ndarray]:
    """Wait until original and edited film have their masks on; look at both."""
    expect(viewports(page)).to_have_count(2)
    for _ in range(60):
        left, right = seen(viewports(page).first), seen(viewports(page).last)
        if min(count_of(left, EDIT_COLOUR), count_of(right, EDIT_COLOUR)) > 20:
            return left, right
        page.wait_for_timeout(1000)
    raise AssertionError("no outline of the edit mask is on both films")


def made(place: Place, film: Shown, **request: Any) -> None:
    """Have the server make an edit, past the viewer."""
    wanted = {"sop_instance_uid": film.instance, "steps": 2, **request}
    job = place.server.post("/radedit/jobs", json=wanted).json()["id"]
    end = time.monotonic() + 240
    while (state := place.server.get(f"/radedit/jobs/{job}").json()["state"]) != "done":
        assert state in ("queued", "running"), state
        assert time.monotonic() < end, "the edit takes too long"
        time.sleep(0.2)


def open_edit(page: Page, prompt: str) -> np.ndarray:
    """Open an edit of the list; look at the original beside it."""
    edit = panel(page).get_by_role("listitem").filter(has_text=prompt).first
    edit.get_by_role("button", name="Open").click()
    expect(panel(page).get_by_role("status")).to_contain_text("on the right")
    expect(edit).to_have_attribute("aria-current", "")
    beside_each_other(page)
    page.wait_for_timeout(1500)  # what OHIF does behind it has been done by then
    return seen(viewports(page).first)


def place_of(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, ...]:
    """Say where a colour is: left, upper, right and lower edge, but for OHIF's frame around."""
    near = np.abs(picture - np.array(colour)).max(axis=2) < 40
    rows, columns = np.nonzero(near[FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX])
    return tuple(
        int(at) + FRAME_PX for at in (columns.min(), rows.min(), columns.max(), rows.max())
    )


def box_on_screen(page: Page, film: Shown, box: tuple[int, int, int, int]) -> list[float]:
    """Say where in its viewport a rectangle of the film is."""
    around = viewports(page).first.bounding_box()
    assert around is not None
    x0, y0, x1, y1 = box
    rows, columns = film.shape
    edges = [on_film(page, film, (x / columns, y / rows)) for x, y in ((x0, y0), (x1, y1))]
    return [at - around[axis] for edge in edges for at, axis in zip(edge, "xy", strict=True)]


def test_the_original_shows_no_more_than_the_outlines_of_the_edit_that_is_open(
    page: Page, place: Place
) -> None:
    film, keep = place.films["monochrome2"], (300, 300, 380, 380)
    boxes = [(40 + 20 * k, 60 + 50 * k, 200 + 20 * k, 250 + 50 * k) for k in range(OPENED)]
    for number, box in enumerate(boxes):
        made(
            place, film, prompt="Right upper lobe nodule", seed=100 + number,
            edit_mask=f"box:{','.join(map(str, box))}", study_mode="new",
            keep_mask=f"box:{','.join(map(str, keep))}",
        )  # fmt: skip
    for fresh in range(FRESH_PAGES):
        open_film(page, place, film)
        first = None
        for number, box in enumerate(boxes if fresh == 0 else boxes[:1]):
            left = open_edit(page, f"seed {100 + number}")
            middle = left[len(left) // 3 : len(left) * 2 // 3]
            assert (middle.max(axis=2) < 8).mean() < 0.1, "nothing is painted black"
            for mask, colour in ((box, EDIT_COLOUR), (keep, KEEP_COLOUR)):
                wanted = box_on_screen(page, film, mask)
                assert place_of(left, colour) == pytest.approx(wanted, abs=2.5), "to the pixel"
            first = left if first is None else first
            grey = [np.ptp(picture, axis=2) < 12 for picture in (first, left)]
            assert np.abs(first - left)[grey[0] & grey[1]].mean() < 0.5, "the film stays as it is"


@pytest.mark.parametrize("kind", ["monochrome1", "monochrome2"])
def test_a_film_is_edited_from_the_worklist_to_a_reload(
    page: Page, place: Place, kind: str
) -> None:
    film = place.films[kind]
    page.goto(place.server.url)
    page.get_by_text(f"Example, {kind}").first.click()
    keep_picture(page, "ohif-worklist")
    page.get_by_role("button", name="RadEdit").or_(
        page.get_by_text("RadEdit", exact=True)
    ).first.click()
    expect(panel(page).get_by_label("steps")).to_be_visible()
    expect(page.get_by_text("W:").first).to_be_visible()
    expect(panel(page).get_by_role("button", name="Run", exact=True)).to_be_enabled()

    draw(page, film, "edit", AT)
    draw(page, film, "keep", (0.5, 0.45))
    panel(page).get_by_role("button", name="Done").click()
    panel(page).get_by_label("Edit prompt").fill("Right lower lobe consolidation")
    panel(page).get_by_label("steps").fill("20" if PICTURES else "6")
    panel(page).get_by_label("guidance").fill("2")
    page.wait_for_timeout(500)
    keep_picture(page, f"ohif-draw-{kind}")
    run(page)
    wait_until_done(page)
    left, right = beside_each_other(page)
    assert count_of(right, KEEP_COLOUR) > 20
    assert abs(left.mean() - right.mean()) < 12, "both are the same film, shown alike"
    keep_picture(page, f"ohif-result-{kind}")

    stored = place.held(film.study, "SEG")[-1]
    edited = place.held(film.study, "CR")[-1]
    assert read_private(edited).prompt == "Right lower lobe consolidation"
    mask = read_segmentation(stored, read_film(edited, allow_synthetic=True))["edit mask"]
    rows, columns = np.nonzero(mask)
    drawn = columns.mean() / film.shape[1], rows.mean() / film.shape[0]
    assert drawn == pytest.approx(AT, abs=0.03), "the mask is where it was drawn"

    page.reload()
    edits = panel(page).get_by_role("listitem").filter(has_text="Right lower lobe consolidation")
    edits.get_by_role("button", name="Open").click()
    beside_each_other(page)
    expect(page.get_by_text("AI-EDITED").first).to_be_visible()


def test_a_result_in_a_study_of_its_own_is_there_after_a_reload_too(
    page: Page, place: Place
) -> None:
    film = place.films["monochrome2"]
    open_film(page, place, film)
    panel(page).get_by_label("Edit prompt").fill("Left pneumothorax")
    panel(page).get_by_label("Edit mask from").select_option("task:lung_segmentation:left")
    panel(page).get_by_label("steps").fill("4")
    panel(page).get_by_label("Result goes").select_option("new")
    run(page)
    wait_until_done(page)
    beside_each_other(page)
    assert page.url.count(film.study) == 1
    assert "," in page.url or "%2C" in page.url, "the address names the new study as well"
    page.reload()
    edit = panel(page).get_by_role("listitem").filter(has_text="Left pneumothorax").first
    edit.get_by_role("button", name="Open").click()
    beside_each_other(page)


def test_a_drawn_mask_is_used_again_from_an_edit_in_a_study_of_its_own(
    page: Page, place: Place
) -> None:
    film = place.films["monochrome2"]
    open_film(page, place, film)
    draw(page, film, "edit", AT)
    panel(page).get_by_role("button", name="Done").click()
    panel(page).get_by_label("Edit prompt").fill("Right lower lobe mass")
    panel(page).get_by_label("steps").fill("2")
    panel(page).get_by_label("Result goes").select_option("new")
    run(page)
    wait_until_done(page)
    edit = panel(page).get_by_role("listitem").filter(has_text="Right lower lobe mass")
    edit.get_by_role("button", name="Use settings").click()
    panel(page).get_by_label("seed").fill("5")
    run(page)
    wait_until_done(page)
    expect(edit).to_have_count(2)

    listed = place.server.get("/radedit/edits", params={"sop_instance_uid": film.instance})
    again, first = [
        each for each in listed.json()["edits"] if each["parameters"]["prompt"].endswith("mass")
    ]
    assert first["parameters"]["edit_mask"] == "uploaded:edit"
    assert again["parameters"]["edit_mask"] == f'seg:"edit mask@{first["uids"]["seg"]}"'
    masks = []
    for uids in (first["uids"], again["uids"]):
        edited = read_film(place.orthanc.file(uids["sc"]), allow_synthetic=True)
        segments = parse(place.orthanc.file(uids["seg"]), pixels=True)
        masks.append(read_segmentation(segments, edited)["edit mask"])
    assert masks[0].any()
    np.testing.assert_array_equal(*masks)


def test_each_film_keeps_its_own_edits_whichever_is_opened_meanwhile(
    page: Page, place: Place
) -> None:
    studies = ",".join(film.study for film in place.films.values())
    page.goto(f"{place.server.url}/radedit-edit?StudyInstanceUIDs={studies}")
    # Edits of the tests before may lie in these studies too.
    thumbnails = page.get_by_test_id("study-browser-thumbnail").filter(has_not_text="AI-EDITED")
    expect(thumbnails).to_have_count(2)
    first, second = (f"[id='{each.get_attribute('id')}']" for each in thumbnails.all())
    page.locator(first).dblclick()
    expect(page.get_by_text("W:").first).to_be_visible()
    expect(panel(page).get_by_label("steps")).to_be_visible()
    panel(page).get_by_label("Edit prompt").fill("Cardiomegaly")
    panel(page).get_by_label("Edit mask as an expression").fill("box:60,60,200,300")
    panel(page).get_by_label("steps").fill("2")
    said = panel(page).get_by_role("status")
    made = panel(page).get_by_role("listitem").filter(has_text="Cardiomegaly")

    followed: list[Route] = []

    def hold(route: Route) -> None:
        followed.append(route)

    page.route("**/radedit/jobs/*/events", hold)  # nothing is heard of the edit ...
    with page.expect_request("**/radedit/jobs/*/events"):
        run(page)
    with page.expect_request("**/radedit/edits?*"):
        page.locator(second).dblclick()
    followed[0].continue_()  # ... until the other film is open
    expect(said).to_have_text("The edit of the film before is done; open that film.")
    expect(viewports(page)).to_have_count(1)
    expect(made).to_have_count(0)

    page.locator(first).dblclick()
    expect(made).to_be_visible()
    page.route("**/radedit/edits?*", lambda route: route.abort())
    page.locator(second).dblclick()
    expect(said).to_contain_text("The server cannot be reached")
    expect(made).to_have_count(0)


def drag(page: Page, film: Shown, *places: tuple[float, float]) -> None:
    """Draw from place to place of the film, each a share of its columns and rows."""
    page.mouse.move(*on_film(page, film, places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*on_film(page, film, place), steps=5)
    page.mouse.up()


def test_rectangle_ellipse_and_freehand_are_masks_where_they_are_drawn(
    page: Page, place: Place
) -> None:
    film = place.films["monochrome2"]
    rows, columns = film.shape
    open_film(page, place, film)
    said = panel(page).get_by_role("status")
    panel(page).get_by_role("button", name="Draw the edit mask").click()
    panel(page).get_by_role("button", name="Rectangle").click()
    drag(page, film, (0.2, 0.3), (0.4, 0.5))
    expect(said).to_have_text("The edit mask is rectangle 1.")
    panel(page).get_by_role("button", name="Draw the keep mask").click()
    panel(page).get_by_role("button", name="Freehand").click()
    corners = [(0.3, 0.35), (0.5, 0.35), (0.5, 0.6), (0.3, 0.6)]
    drag(page, film, *corners, (0.3, 0.36))
    expect(said).to_have_text("The keep mask is freehand 2.")
    panel(page).get_by_role("button", name="Done").click()
    panel(page).get_by_label("Edit prompt").fill("Right upper lobe mass")
    panel(page).get_by_label("steps").fill("2")
    run(page)
    wait_until_done(page)

    listed = place.server.get("/radedit/edits", params={"sop_instance_uid": film.instance})
    edit = listed.json()["edits"][0]
    assert edit["parameters"]["keep_mask"] == "uploaded:keep"
    box = [int(edge) for edge in edit["parameters"]["edit_mask"].removeprefix("box:").split(",")]
    wanted = [0.2 * columns, 0.3 * rows, 0.4 * columns, 0.5 * rows]
    assert box == pytest.approx(wanted, abs=2)
    edited = read_film(place.orthanc.file(edit["uids"]["sc"]), allow_synthetic=True)
    masks = read_segmentation(parse(place.orthanc.file(edit["uids"]["seg"]), pixels=True), edited)
    wanted_keep = np.zeros((rows, columns), np.bool_)
    (left, upper), (right, lower) = corners[0], corners[2]
    wanted_keep[
        round(upper * rows) : round(lower * rows), round(left * columns) : round(right * columns)
    ] = True
    assert (masks["keep mask"] ^ wanted_keep).mean() < 0.01, "all of it, and nothing else"

    panel(page).get_by_role("button", name="Draw the edit mask").click()
    panel(page).get_by_role("button", name="Ellipse").click()
    drag(page, film, (0.6, 0.4), (0.7, 0.5))
    expect(said).to_have_text("The edit mask is ellipse 3.")
    sent = []
    page.on("request", lambda r: sent.append(r.post_data_json) if r.method == "POST" else None)
    run(page)
    wait_until_done(page)
    kind, _, shape = sent[0]["edit_mask"].partition(":")
    assert kind == "ellipse"
    centre = [float(number) for number in shape.split(",")][:2]
    assert centre == pytest.approx([0.6 * columns, 0.4 * rows], abs=4)


def test_status_and_flicker_are_in_sight_on_a_laptop_and_windows_are_linked(
    page: Page, place: Place
) -> None:
    film = place.films["monochrome2"]
    page.set_viewport_size({"width": 1366, "height": 768})
    made(place, film, prompt="Cardiomegaly", seed=77, edit_mask="task:heart_segmentation")
    open_film(page, place, film)
    choices = panel(page).get_by_label("Edit mask from").locator("option")
    assert {"left lung", "right lung", "heart"} <= set(choices.all_inner_texts())
    hint = panel(page).get_by_label("Edit mask as an expression").get_attribute("placeholder")
    assert hint is not None
    assert "task:lung_segmentation" in hint
    open_edit(page, "seed 77")
    for control in (
        panel(page).get_by_role("status"),
        panel(page).get_by_role("button", name="Run", exact=True),
        panel(page).get_by_role("button", name="Flicker"),
    ):
        expect(control).to_be_in_viewport(ratio=1)
    left, right = viewports(page).first, viewports(page).last
    before = seen(right)
    x, y = on_film(page, film, (0.5, 0.5))
    page.mouse.move(x, y)
    page.mouse.down()  # OHIF's window
    page.mouse.move(x + 60, y - 60, steps=3)
    page.mouse.up()
    page.wait_for_timeout(1000)
    assert np.abs(before - seen(right)).mean() > 2, "the edited film is windowed as the original"
    assert abs(seen(left).mean() - seen(right).mean()) < 12


def test_a_server_that_is_gone_is_said_and_not_waited_for_as_a_worker(
    page: Page, place: Place
) -> None:
    open_film(page, place, place.films["monochrome2"])
    panel(page).get_by_label("Edit prompt").fill("Right pneumothorax")
    panel(page).get_by_label("Edit mask as an expression").fill("box:60,60,200,300")
    panel(page).get_by_label("steps").fill("1000")
    said = panel(page).get_by_role("status")
    page.route("**/radedit/jobs/*/events", lambda route: route.abort())
    run(page)
    expect(said).to_contain_text("The connection to the server is lost")
    page.unroute("**/radedit/jobs/*/events")  # the browser asks again by itself
    expect(said).to_have_text(re.compile(r"step \d+ of \d+"))
    panel(page).get_by_role("button", name="Cancel").click()
    expect(said).to_have_text("The edit was cancelled.")


def test_an_edit_can_be_cancelled_and_run_again_and_its_form_stays(
    page: Page, place: Place
) -> None:
    open_film(page, place, place.films["monochrome2"])
    panel(page).get_by_label("Edit prompt").fill("Right pneumothorax")
    panel(page).get_by_label("Edit mask as an expression").fill("box:60,60,200,300")
    panel(page).get_by_label("steps").fill("1000")
    said = panel(page).get_by_role("status")
    for _ in range(2):  # asked for again, it runs again
        run(page)
        expect(panel(page).get_by_role("progressbar")).to_be_visible()
        expect(said).to_have_text(re.compile(r"step \d+ of \d+"))
        panel(page).get_by_role("button", name="Cancel").click()
        expect(said).to_have_text("The edit was cancelled.")
    expect(panel(page).get_by_role("button", name="Run", exact=True)).to_be_enabled()
    expect(panel(page).get_by_label("Edit prompt")).to_have_value("Right pneumothorax")


def test_what_is_missing_or_refused_is_said_in_a_sentence(page: Page, place: Place) -> None:
    open_film(page, place, place.films["monochrome2"])
    said = panel(page).get_by_role("status")
    run(page)
    expect(said).to_have_text("Say in the prompt what the film should show.")
    panel(page).get_by_label("Edit prompt").fill("<img src=x onerror=alert(1)>")
    run(page)
    expect(said).to_have_text("Choose or draw the edit mask: what may change.")
    panel(page).get_by_label("Edit mask as an expression").fill("box:60,60,200,300")
    run(page)
    expect(said).to_contain_text("does not know: <, img")  # as text, and no dialog has come


def test_flicker_linked_views_and_settings_used_again(page: Page, place: Place) -> None:
    film = place.films["monochrome2"]
    open_film(page, place, film)
    panel(page).get_by_label("Edit prompt").fill("Large right pleural effusion")
    panel(page).get_by_label("Edit mask as an expression").fill("task:lung_segmentation:right")
    panel(page).get_by_label("steps").fill("5")
    panel(page).get_by_label("seed").fill("11")
    run(page)
    wait_until_done(page)
    beside_each_other(page)

    left, right = viewports(page).first, viewports(page).last
    before = seen(right)
    box = left.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down(button="right")  # OHIF's zoom
    page.mouse.move(x, y - 60, steps=3)
    page.mouse.up(button="right")
    page.wait_for_timeout(1000)
    moved = seen(right)
    assert np.abs(before - moved).mean() > 2, "the edited film follows the original"

    panel(page).get_by_role("button", name="Flicker").click()
    badge = page.locator(".radedit-badge")
    expect(badge).to_have_text("ORIGINAL")
    keep_picture(page, "ohif-flicker")
    expect(badge).to_have_text("EDITED")
    panel(page).get_by_role("button", name="Flicker").click()
    expect(badge).to_have_count(0)

    page.reload()
    edit = panel(page).get_by_role("listitem").filter(has_text="Large right pleural effusion")
    edit.get_by_role("button", name="Use settings").click()
    expect(panel(page).get_by_label("Edit prompt")).to_have_value("Large right pleural effusion")
    expect(panel(page).get_by_label("seed")).to_have_value("11")
    expect(panel(page).get_by_label("Edit mask as an expression")).to_have_value(
        "task:lung_segmentation:right"
    )


def test_a_phantom_in_a_folder_of_the_served_folder_is_edited_as_any_film(
    page: Page, new_port: Callable[[], int], tmp_path: Path
) -> None:
    list(write_studies(Order(first=1, count=1, size=256), tmp_path / "studies"))
    [path] = (tmp_path / "studies").glob("*/film.dcm")
    header = parse(path, pixels=False)
    with radedit_server(tmp_path, new_port()) as server:
        page.goto(f"{server.url}/radedit-edit?StudyInstanceUIDs={header.StudyInstanceUID}")
        expect(panel(page).get_by_role("button", name="Run", exact=True)).to_be_enabled()
        panel(page).get_by_label("Edit prompt").fill("Left pneumothorax")
        panel(page).get_by_label("Edit mask as an expression").fill("box:60,60,120,160")
        panel(page).get_by_label("steps").fill("2")
        run(page)
        wait_until_done(page)
        beside_each_other(page)
