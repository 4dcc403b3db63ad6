"""The review's API: what is shown, what is hidden, what is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from radedit_dicom.conformance import check_file, passes
from radedit_dicom.pixels import to_display


def picture(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_an_edit_is_told_with_its_scores_and_parameters(open_desk) -> None:
    desk = open_desk()
    told = desk.get(f"edits/{desk.uids[0]}", reader="Anna").json()
    assert told["parameters"]["prompt"] == "Kein Erguss – ça va"
    assert told["scores"] == {"fidelity": 0.75, "directional similarity": None}
    assert told["parameters"]["steps"] == 20
    assert told["masks"] == ["edit mask", "keep mask", "left lung"]
    assert told["model_sha256"] == "ab" * 32
    text = desk.get("edits", reader="Anna").text + str(told)
    assert "Geheim" not in text
    assert "4711" not in text


@pytest.mark.parametrize("shown", ["original", "edited"])
def test_a_picture_is_the_film_as_its_reader_sees_it(open_desk, shown: str) -> None:
    desk = open_desk(edits=2)  # the second is MONOCHROME1
    for uid, (source, result) in zip(desk.uids, desk.films, strict=True):
        found = picture(desk.get(f"edits/{uid}/pictures/{shown}.png", reader="Anna"))
        wanted = np.rint(to_display(source if shown == "original" else result) * 255)
        assert np.array_equal(found, wanted)


def test_outlines_run_along_the_masks_and_the_difference_is_where_the_edit_is(open_desk) -> None:
    desk = open_desk()
    base = f"edits/{desk.uids[0]}/pictures"
    edit = picture(desk.get(f"{base}/edit-mask.png", reader="Anna"))[..., 3] > 0
    inside = np.zeros((60, 48), bool)
    inside[15:30, 12:24] = True
    assert edit[15, 12:24].all()
    assert not edit[~inside].any()
    assert not edit[20:25, 15:20].any(), "an outline, not a filled mask"
    change = picture(desk.get(f"{base}/difference.png", reader="Anna"))[..., 3]
    assert (change[~inside] == 0).all()
    assert change[inside].max() == 255


def test_a_large_film_is_drawn_at_the_size_asked_for_and_no_other_size_is_taken(open_desk) -> None:
    desk = open_desk()
    base = f"edits/{desk.uids[0]}/pictures/original.png"
    assert desk.get(base, reader="Anna", side=1).status_code == 400
    assert desk.get(base, reader="Anna", side=4096).status_code == 200


def test_blinded_pictures_are_the_two_and_give_nothing_away(open_desk) -> None:
    desk = open_desk(edits=8)
    sides = set()
    for uid, (source, result) in zip(desk.uids, desk.films, strict=True):
        pair = {}
        for which in "ab":
            answer = desk.get(f"edits/{uid}/blinded/{which}.png", reader="Anna")
            assert "edit" not in str(answer.headers).lower()
            pair[which] = picture(answer)
        side = desk.store.edited_side("Anna", uid)
        sides.add(side)
        assert np.array_equal(pair[side], np.rint(to_display(result) * 255))
        other = pair["b" if side == "a" else "a"]
        assert np.array_equal(other, np.rint(to_display(source) * 255))
        again = picture(desk.get(f"edits/{uid}/blinded/a.png", reader="Anna"))
        assert np.array_equal(again, pair["a"]), "the coin is tossed once"
    assert sides == {"a", "b"}
    rows = desk.get("edits", reader="Anna", blinded=True).json()["edits"]
    assert {row["prompt"] for row in rows} == {None}


def test_blinded_first_hides_everything_until_the_reader_has_answered(open_desk) -> None:
    desk = open_desk(blinded_first=True)
    uid = desk.uids[0]
    hidden = [
        f"edits/{uid}",
        *(f"edits/{uid}/pictures/{name}.png" for name in ("original", "edited", "difference")),
    ]
    for path in hidden:
        assert desk.get(path, reader="Anna").status_code == 403
    assert desk.say(uid, reader="Anna", kind="decision", answer="accept").status_code == 403
    assert desk.say(uid, reader="Anna", kind="opened").status_code == 403
    said = desk.say(uid, reader="Anna", kind="blinded", answer="a")
    assert said.status_code == 201
    assert said.json()["is_right"] is (desk.store.edited_side("Anna", uid) == "a")
    for path in hidden:
        assert desk.get(path, reader="Anna").status_code == 200
        assert desk.get(path, reader="Ben").status_code == 403, "each reader for himself"


def test_who_has_seen_the_edit_or_has_answered_cannot_answer_blinded(open_desk) -> None:
    desk = open_desk()
    assert desk.say(desk.uids[0], reader="Anna", kind="opened").status_code == 201
    late = desk.say(desk.uids[0], reader="Anna", kind="blinded", answer="b")
    assert late.status_code == 400
    assert "seen which" in late.json()["detail"]
    assert desk.say(desk.uids[0], reader="Ben", kind="blinded", answer="b").status_code == 201
    assert desk.say(desk.uids[0], reader="Ben", kind="blinded", answer="a").status_code == 400


def test_an_edit_that_a_reader_has_opened_is_not_hidden_from_him_again(open_desk) -> None:
    desk = open_desk(edits=2)
    seen, unseen = desk.uids
    desk.say(seen, reader="Anna", kind="opened")
    for reader, told in (("Anna", {seen}), ("Ben", set())):
        rows = desk.get("edits", reader=reader, blinded=True).json()["edits"]
        assert {row["uid"] for row in rows if row["prompt"] is not None} == told
        assert {row["uid"] for row in rows if row["known"]} == told
    enforced = open_desk(blinded_first=True)  # the same readings, now served so
    assert enforced.uids != desk.uids
    assert enforced.get(f"edits/{seen}", reader="Anna").status_code == 200
    assert enforced.get(f"edits/{seen}", reader="Ben").status_code == 403
    decided = enforced.say(seen, reader="Anna", kind="decision", answer="accept")
    assert decided.status_code == 201
    assert enforced.get(f"edits/{unseen}", reader="Anna").status_code == 403


def test_a_decision_is_written_down_and_a_second_one_follows_it(open_desk) -> None:
    desk = open_desk()
    uid = desk.uids[0]
    one = desk.say(uid, reader="Anna", kind="decision", answer="reject", reason=" too bright ")
    two = desk.say(uid, reader="Anna", kind="decision", answer="accept")
    assert (one.json()["number"], two.json()["number"]) == (1, 2)
    assert one.json()["reason"] == "too bright"
    assert [e["answer"] for e in desk.get(f"edits/{uid}", reader="Anna").json()["events"]] == [
        "reject",
        "accept",
    ]
    assert desk.get("edits", reader="Anna").json()["edits"][0]["decision"] == "accept"
    assert desk.get("edits", reader="Ben").json()["edits"][0]["decision"] is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"kind": "decision", "answer": "accept"}, "name"),
        ({"reader": " Anna", "kind": "decision", "answer": "accept"}, "name"),
        ({"reader": "A\nB", "kind": "decision", "answer": "accept"}, "printable"),
        ({"reader": "Anna", "kind": "decision", "answer": "fine"}, "accept, reject, unsure"),
        ({"reader": "Anna", "kind": "decision", "answer": "reject"}, "reason"),
        ({"reader": "Anna", "kind": "decision", "answer": "unsure", "reason": "  "}, "reason"),
        ({"reader": "Anna", "kind": "verdict", "answer": "accept"}, "kind"),
        ({"reader": "Anna", "kind": "decision", "answer": "accept", "reason": "x" * 1001}, "1000"),
        ({"reader": "Anna", "kind": "decision", "answer": "accept", "reason": "a\0b"}, "print"),
    ],
)
def test_what_cannot_be_an_event_is_refused_in_a_sentence(open_desk, said, words) -> None:
    desk = open_desk()
    answer = desk.say(desk.uids[0], **said)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert desk.store.events() == []


@pytest.mark.parametrize("uid", ["1.2.3", "..%2f..%2fetc%2fpasswd", "a'b", "%00", "1" * 300])
def test_an_unknown_edit_is_not_found_whatever_it_is_called(open_desk, uid: str) -> None:
    desk = open_desk()
    for path in (f"edits/{uid}", f"edits/{uid}/pictures/edited.png", f"edits/{uid}/blinded/a.png"):
        assert desk.get(path, reader="Anna").status_code == 404
    assert desk.say(uid, reader="Anna", kind="opened").status_code in (404, 405)


def test_only_the_pages_own_files_are_given(open_desk) -> None:
    desk = open_desk()
    assert desk.client.get("/review").status_code == 200
    assert desk.client.get("/review/files/review.css").status_code == 200
    for name in ("index.html", "..%2findex.html", "%2e%2e%2fohif%2fmode.mjs", "x"):
        assert desk.client.get(f"/review/files/{name}").status_code == 404


def test_the_server_knows_better_than_the_page_who_reads(open_desk) -> None:
    desk = open_desk(identify=lambda request: "anna@clinic")
    said = desk.say(desk.uids[0], reader="Somebody else", kind="decision", answer="accept")
    assert said.json()["reader"] == "anna@clinic"


def test_who_is_no_admin_sees_their_own_readings_only(open_desk) -> None:
    desk = open_desk(
        identify=lambda request: request.headers["user"],
        sees_all=lambda request: request.headers["user"] == "admin",
    )

    def asked(user: str, path: str, method: str = "GET") -> Any:
        return desk.client.request(method, f"/review/api/{path}", headers={"user": user})

    for user in ("anna", "bert"):
        body = {"kind": "decision", "answer": "accept"}
        path = f"/review/api/edits/{desk.uids[0]}/events"
        assert desk.client.post(path, json=body, headers={"user": user}).status_code == 201
    for user, other in (("anna", "bert"), ("bert", "anna")):
        table = asked(user, "events.csv").text
        assert user in table
        assert other not in table
        assert asked(user, "agreement").json()["pairs"] == []
    assert all(name in asked("admin", "events.csv").text for name in ("anna", "bert"))
    assert len(asked("admin", "agreement").json()["pairs"]) == 1
    for number, owner in ((1, "anna"), (2, "bert")):
        for user in ("anna", "bert"):
            wanted = 200 if user == owner else 403
            assert asked(user, f"events/{number}/report.dcm").status_code == wanted
        other = {"anna": "bert", "bert": "anna"}[owner]
        assert asked(other, f"events/{number}/report", "POST").status_code == 403
        assert asked("admin", f"events/{number}/report.dcm").status_code == 200


def test_a_name_of_the_sign_on_that_no_reading_can_carry_is_said_to_be_that(open_desk) -> None:
    desk = open_desk(identify=lambda request: "a" * 65)
    refused = desk.get("edits")
    assert refused.status_code == 400
    assert "signed on with" in refused.json()["detail"]
    assert "RADEDIT_OIDC_USER_CLAIM" in refused.json()["detail"]


def test_the_table_holds_every_event_and_no_formula(open_desk) -> None:
    desk = open_desk()
    reason = "=cmd|'/c calc'!A1, a comma\nand a line"
    desk.say(desk.uids[0], reader="Anna", kind="blinded", answer="a")
    desk.say(desk.uids[0], reader="Anna", kind="decision", answer="reject", reason=reason)
    rows = list(csv.DictReader(io.StringIO(desk.get("events.csv").text)))
    assert [row["kind"] for row in rows] == ["blinded", "decision"]
    assert rows[0]["is_right"] in ("yes", "no")
    assert rows[1]["reason"] == f"'{reason}"
    assert rows[1]["model_sha256"] == "ab" * 32
    assert rows[1]["time"].endswith("+00:00")


def test_a_decision_becomes_a_valid_report_and_is_stored_once(
    open_desk, peer, tmp_path: Path
) -> None:
    peer("dciodvfy")
    desk = open_desk()
    desk.say(desk.uids[0], reader="Anna", kind="blinded", answer="a")
    desk.say(desk.uids[0], reader="Anna", kind="decision", answer="unsure", reason="blurred")
    path = tmp_path / "reading.dcm"
    path.write_bytes(desk.get("events/2/report.dcm").content)
    assert passes(check_file(path))
    assert "blurred" in str(pydicom.dcmread(path))
    before = len(desk.results.held())
    first = desk.client.post("/review/api/events/2/report")
    again = desk.client.post("/review/api/events/2/report")
    assert first.status_code == 201
    assert first.json() == again.json()
    assert len(desk.results.held()) == before + 1
    assert desk.get("events/1/report.dcm").status_code == 400, "a blinded answer is no decision"
    assert desk.get("events/9/report.dcm").status_code == 404


def test_a_film_that_is_gone_is_said_to_be_gone(open_desk, tmp_path: Path) -> None:
    desk = open_desk()
    (tmp_path / "films" / "0.dcm").unlink()
    answer = desk.get(f"edits/{desk.uids[0]}", reader="Anna")
    assert answer.status_code == 404
    assert "bring the film back" in answer.json()["detail"]
