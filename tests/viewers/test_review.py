"""The review page, worked by keyboard alone, on edits that an archive holds."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from viewer_pages import PICTURES, Place, count_of, keep_picture, seen

from radedit_dicom.film import read_film
from radedit_dicom.locate import open_archive
from radedit_dicom.objects import Destination, build_objects
from radedit_dicom.pixels import apply_display_delta
from radedit_dicom.provenance import pixel_sha256
from radedit_dicom.vocabulary import EDIT_COLOUR, KEEP_COLOUR

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
PROMPTS = ("Right upper lobe mass", HOSTILE, "Left upper lobe nodule")


@pytest.fixture(scope="module")
def edits(place: Place, make_provenance: Any) -> list[str]:
    """Store three edits made by hand, in their film's study; gives their prompts, in order."""
    archive = open_archive(place.orthanc.dicom_web)
    film = read_film(place.orthanc.file(place.films["monochrome1"].instance))
    rows, columns = film.shape
    down, across = np.mgrid[:rows, :columns]
    for number, prompt in enumerate(PROMPTS):
        centre = (0.33 + 0.1 * number, 0.3 + 0.2 * number)
        far = np.hypot(down / rows - centre[0], across / columns - centre[1])
        masks = {"edit mask": far < 0.1, "keep mask": (far > 0.2) & (far < 0.25)}
        change = np.where(masks["edit mask"], 0.3 * np.exp(-((far / 0.05) ** 2)), 0)
        edited = apply_display_delta(film, change.astype(np.float32))
        record = replace(
            make_provenance(film, edited, masks),
            edit_id=f"{number:032x}",
            prompt=prompt,
            created=f"2020-01-0{number + 1}T10:00:00+00:00",  # before what other tests make
            edit_mask_sha256=pixel_sha256(masks["edit mask"]),
        )
        scores = {"directional similarity": 0.31, "fidelity": None}
        to = Destination("same", first_series_number=5000 + 10 * number)
        objects = build_objects(film, edited, masks, record, scores, to)
        archive.store([objects.seg, objects.sr, objects.sc])
    return list(PROMPTS)


def stage(page: Page) -> Locator:
    return page.locator("#stage")


def begin(page: Page, place: Place, reader: str, blinded: bool = False) -> None:
    """Open the page and say who reads, by keyboard."""
    page.goto(f"{place.server.url}/review")
    expect(page.get_by_role("dialog", name="Who reads?")).to_be_visible()
    page.keyboard.type(reader)
    if blinded:
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
    page.keyboard.press("Enter")
    ready(page)


def ready(page: Page) -> None:
    expect(page.locator("#stage[aria-busy=false]")).to_be_visible()


def say(page: Page, key: str, reason: str) -> None:
    """Decide by a key, and give a reason."""
    page.keyboard.press(key)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.type(reason)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Noted")
    ready(page)


def readings(place: Place, reader: str) -> list[dict[str, str]]:
    table = place.server.get("/review/api/events.csv").text
    return [row for row in csv.DictReader(io.StringIO(table)) if row["reader"] == reader]


def test_edits_are_read_by_keyboard_alone(page: Page, place: Place, edits: list[str]) -> None:
    begin(page, place, "Dr Anna Example")
    about = page.get_by_role("complementary", name="This edit")
    expect(about).to_contain_text(edits[0])
    expect(about).to_contain_text("directional similarity")
    expect(about).to_contain_text("0.310")
    expect(about).to_contain_text("not computed")
    if PICTURES:  # rather of an edit by the model
        page.get_by_role("button", name="Right lower lobe consolidation").first.click()
        ready(page)
        keep_picture(page, "review-open")
        page.get_by_role("button", name=edits[0]).first.click()
        page.evaluate("document.activeElement.blur()")  # Space would press the button again
        ready(page)

    with_masks = seen(stage(page))
    assert count_of(with_masks, EDIT_COLOUR) > 50
    assert count_of(with_masks, KEEP_COLOUR) > 50
    page.keyboard.press("m")
    assert count_of(seen(stage(page)), EDIT_COLOUR) == 0
    page.keyboard.press("Space")  # only the original
    original = seen(stage(page))
    page.keyboard.press("Space")  # only the edited film
    assert np.abs(seen(stage(page)) - original).max() > 30
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("slider")).to_have_value("45")
    difference = stage(page).get_by_role("img", name="What changed")
    expect(difference).to_have_count(0)  # hidden, and so no picture to anybody
    page.keyboard.press("d")
    expect(difference).to_be_visible()
    keep_picture(page, "review-difference")

    say(page, "a", "")
    expect(difference).to_have_count(0)  # each edit is first seen without it
    page.keyboard.press("d")
    expect(difference).to_be_visible()
    expect(about.locator("blockquote")).to_have_text(HOSTILE)  # as text; no dialog has come
    say(page, "r", "the finding does not look real")
    expect(about).to_contain_text(edits[2])
    say(page, "u", "too faint")
    said = [row for row in readings(place, "Dr Anna Example") if row["kind"] == "decision"]
    assert [(row["answer"], row["reason"]) for row in said] == [
        ("accept", ""),
        ("reject", "the finding does not look real"),
        ("unsure", "too faint"),
    ]
    assert {row["model"] for row in said} == {"phantom"}
    assert [row["edit_id"] for row in said] == [f"{number:032x}" for number in range(3)]


def test_a_reason_is_asked_for_before_an_edit_is_rejected(
    page: Page, place: Place, edits: list[str]
) -> None:
    begin(page, place, "Ben")
    page.keyboard.press("r")
    page.keyboard.press("Enter")  # without a reason the dialog stays
    expect(page.get_by_role("dialog", name="Reject this edit")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert [row["kind"] for row in readings(place, "Ben")] == ["opened"]


def test_blinded_first_tells_nothing_before_the_answer(
    page: Page, place: Place, edits: list[str]
) -> None:
    begin(page, place, "Cleo", blinded=True)
    expect(page.get_by_role("button", name="Cannot tell")).to_be_visible()
    expect(page.get_by_text(edits[0])).to_have_count(0)
    expect(page.get_by_text("EDITED, SYNTHETIC")).to_have_count(0)
    expect(stage(page).get_by_role("img")).to_have_count(2)
    page.keyboard.press("a")  # no decision before the answer
    expect(page.get_by_role("dialog")).to_have_count(0)
    keep_picture(page, "review-blinded")
    page.keyboard.press("2")
    expect(page.get_by_text(edits[0]).first).to_be_visible()
    ready(page)
    say(page, "a", "convincing")
    rows = readings(place, "Cleo")
    assert [row["kind"] for row in rows] == ["blinded", "decision"]
    assert rows[0]["is_right"] == ("yes" if rows[0]["edited_side"] == "b" else "no")


def test_what_was_opened_is_read_openly_by_who_then_reads_blinded(
    page: Page, place: Place, edits: list[str]
) -> None:
    begin(page, place, "Gina")
    page.evaluate("sessionStorage.clear()")
    begin(page, place, "Gina", blinded=True)
    expect(page.get_by_text("EDITED, SYNTHETIC")).to_be_visible()
    say(page, "a", "convincing")
    expect(page.get_by_role("button", name="Cannot tell")).to_be_visible()  # the next is hidden
    page.keyboard.press("p")
    ready(page)
    expect(page.get_by_text("EDITED, SYNTHETIC")).to_be_visible()
    assert [row["kind"] for row in readings(place, "Gina")] == ["opened", "decision"]


def test_every_edit_is_seen_finer_when_zoomed_in_and_flicker_ends_with_a_swap(
    page: Page, place: Place, edits: list[str]
) -> None:
    begin(page, place, "Hugo")
    edited = stage(page).get_by_role("img", name="Edited film")
    for _ in range(2):
        expect(edited).to_have_attribute("src", re.compile("side=1200"))
        page.keyboard.press("+")
        page.keyboard.press("+")
        expect(edited).to_have_attribute("src", re.compile("side=4096"))
        page.keyboard.press("n")
        ready(page)
    flicker = page.get_by_role("button", name="Flicker")
    page.keyboard.press("f")
    expect(flicker).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Space")
    expect(flicker).to_have_attribute("aria-pressed", "false")


def test_two_readers_agreement_and_a_report_for_the_archive(
    page: Page, place: Place, edits: list[str]
) -> None:
    for reader, keys in (("Dora", "aar"), ("Emil", "ara")):
        if page.url != "about:blank":
            page.evaluate("sessionStorage.clear()")
        begin(page, place, reader)
        for key in keys:
            say(page, key, "clear")
    pairs = place.server.get("/review/api/agreement").json()["pairs"]
    (pair,) = [each for each in pairs if each["readers"] == ["Dora", "Emil"]]
    assert pair["edits"] == 3
    assert pair["kappa"] == pytest.approx(-0.5)
    page.get_by_role("button", name="Agreement").click()
    dialog = page.get_by_role("dialog", name="Agreement of readers")
    expect(dialog).to_contain_text("Dora and Emil")
    expect(dialog).to_contain_text("-0.50")
    expect(dialog).to_contain_text("unbroken")
    keep_picture(page, "review-agreement")
    page.keyboard.press("Escape")
    page.get_by_role("button", name=edits[0]).first.click()
    ready(page)
    before = len(place.orthanc.held())
    page.get_by_role("button", name="Store in archive").first.click()
    expect(page.get_by_role("alert")).to_contain_text("stored in the archive")
    assert len(place.orthanc.held()) == before + 1


def test_every_control_has_a_name_and_the_keys_are_told(
    page: Page, place: Place, edits: list[str]
) -> None:
    begin(page, place, "Fritz")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, a, img')]
            .filter(e => !(e.textContent.trim() || e.alt || e.getAttribute('aria-label')
                || e.labels?.length)).map(e => e.outerHTML)"""
    )
    assert unnamed == []
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("accept, reject, unsure")
    keep_picture(page, "review-keys")
