"""One process's pipeline: bounded, whole, and no film's trouble another's."""

from __future__ import annotations

import gc
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from front import Front
from orthanc import Orthanc
from pydicom.dataset import Dataset

from radedit.lib.batch.cohort import Cohort, Study
from radedit.lib.batch.journal import Journal
from radedit.lib.batch.line import Line, Shop
from radedit.lib.batch.plan import Pace
from radedit.lib.batch.results import Results
from radedit.lib.cases import EditRequest
from radedit.lib.deliver import Manner, Outbox
from radedit.lib.pipeline import Edited, Editor
from radedit_dicom.access import Access
from radedit_dicom.archive import Instance, Query
from radedit_dicom.film import Film, read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.locate import open_archive
from radedit_dicom.readback import part10

Run = Callable[..., Any]
Write = Callable[..., Path]
REQUEST = EditRequest("Large left lung mass", "box:100,40,170,120", parameters={"steps": 2})
BOUND = 4  # stored values between batches of different sizes, see tests/radedit/test_pipeline.py


class CountingFolder(FolderArchive):
    """A folder that counts, whenever it is stored into, the films whose pixels are in memory."""

    def __init__(self, folder: Path, gate: threading.Event | None = None) -> None:
        super().__init__(folder)
        self.gate, self.alive = gate, []

    def store(self, objects: Sequence[Dataset]) -> list[Instance]:
        if self.gate is not None:
            self.gate.wait(300)
        self.alive.append(sum(type(thing) is Film for thing in gc.get_objects()))
        return super().store(objects)


class Whole(Results):
    """Stores into the folder that it is given, and not into parts of it."""

    def outbox(self, film: Film) -> Outbox:
        return Outbox(self.archive, self.manner)


def states(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["state"] for row in rows)


def test_every_film_is_edited_once_and_a_second_run_makes_nothing_again(
    run_line: Run, write_films: Write, tmp_path: Path
) -> None:
    source, output = write_films(tmp_path / "films", 3), FolderArchive(tmp_path / "out")
    rows, line = run_line(source, output)
    assert states(rows) == {"edited": 3}
    assert {row["input"] for row in rows} == {path.name for path in source.iterdir()}
    assert all(row["changed_outside_support"] == 0 for row in rows)
    held = output.find(Query())
    assert len(held) == 9
    assert {row["uids"]["sc"] for row in rows} <= {i.sop_instance_uid for i in held}
    assert {name: spent.films for name, spent in line.clock.spent().items()} == {
        "fetch": 3, "masks": 3, "edit": 3, "store": 3,
    }  # fmt: skip
    before = {path: path.read_bytes() for path in output.folder.rglob("*.dcm")}

    again, line = run_line(source, FolderArchive(tmp_path / "out"))
    assert states(again) == {"already there": 3}
    assert {row["edit_id"] for row in again} == {row["edit_id"] for row in rows}
    known = {row["film"]: row for row in again}
    unfetched, line = run_line(source, FolderArchive(tmp_path / "out"), known)
    assert states(unfetched) == {"already there": 3}
    assert line.clock.spent()["masks"].films == 0, "a known film is looked for, not read"
    assert {path: path.read_bytes() for path in output.folder.rglob("*.dcm")} == before


def test_what_is_gone_from_the_archive_is_made_again(
    run_line: Run, write_films: Write, tmp_path: Path
) -> None:
    source, output = write_films(tmp_path / "films", 2), FolderArchive(tmp_path / "out")
    rows, _ = run_line(source, output)
    (tmp_path / "out" / rows[0]["files"]["sc"]).unlink()
    known = {row["film"]: row for row in rows}
    again, _ = run_line(source, FolderArchive(tmp_path / "out"), known)
    anew = [row for row in again if "again" not in row]
    assert [(row["film"], row["state"]) for row in anew] == [(rows[0]["film"], "edited")]
    assert anew[0]["uids"] == rows[0]["uids"]


def test_of_a_study_in_an_archive_only_what_is_edited_is_fetched(
    editor: Editor,
    make_dataset: Callable[..., Dataset],
    start_orthanc: Callable[..., Orthanc],
    new_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    orthanc, port = start_orthanc(), new_port()
    for number in range(20):
        uid = f"1.2.3.{number}"
        view = "PA" if number == 7 else "LL"
        pixels = np.random.default_rng(number).integers(0, 4096, (240, 200))
        orthanc.upload(part10(make_dataset(pixels, SOPInstanceUID=uid, ViewPosition=view)))
    front = Front(port, orthanc.http_port)
    try:
        archive = open_archive(f"http://127.0.0.1:{port}/dicom-web", Access(attempts=2))
        rows: list[dict[str, Any]] = []
        results = Results(FolderArchive(tmp_path / "out"), Manner())
        shop = Shop(editor, REQUEST, archive, results, tmp_path / "cache", Pace(1, 2, 2))
        line = Line(shop, lambda _, row: rows.append(row) if row else None)
        for number, found in enumerate(Cohort(archive)):
            assert isinstance(found, Study)
            line.put(number, found, None)
        line.close()
        line.run()
    finally:
        front.close()
    assert states(rows) == {"edited": 1, "passed over": 19}
    sent = b"".join(front.sent).decode("latin-1")
    assert re.findall(r"/instances/(1\.2\.3\.\d+) HTTP", sent) == ["1.2.3.7"]
    assert len(re.findall(r"GET \S*/metadata HTTP", sent)) == 1


@pytest.mark.parametrize("count", [3, 9])
def test_so_many_films_are_in_memory_and_no_more_however_many_there_are(
    run_line: Run, write_films: Write, tmp_path: Path, count: int
) -> None:
    source, pace = write_films(tmp_path / "films", count), Pace(1, 2, 1)
    gc.collect()
    others = sum(type(thing) is Film for thing in gc.get_objects())  # of other tests
    output = CountingFolder(tmp_path / "out")
    rows, line = run_line(source, output, pace=pace, results=Whole(output, Manner()))
    assert states(rows) == {"edited": count}
    assert len(output.alive) == count
    assert max(output.alive) - others <= pace.seats + pace.feeders
    assert line.most_in_memory <= pace.seats


def test_no_latent_or_decoding_outlives_its_film(
    run_line: Run, write_films: Write, tmp_path: Path, editor: Editor
) -> None:
    backbone = editor.backbone(None)
    side = backbone.image_size
    shapes = {(1, 1, side, side), tuple(backbone.encode(torch.zeros(1, 1, side, side)).shape)}

    def alive() -> int:
        gc.collect()
        return sum(type(x) is torch.Tensor and tuple(x.shape) in shapes for x in gc.get_objects())

    before = alive()
    rows, _ = run_line(write_films(tmp_path / "films", 3), FolderArchive(tmp_path / "out"))
    assert states(rows) == {"edited": 3}
    assert alive() == before


def test_where_storing_stands_still_fetching_waits(
    run_line: Run, write_films: Write, tmp_path: Path, editor: Editor
) -> None:
    source, pace, gate = write_films(tmp_path / "films", 7), Pace(1, 2, 1), threading.Event()
    output = CountingFolder(tmp_path / "out", gate)
    done: list[Any] = []
    thread = threading.Thread(
        target=lambda: done.append(
            run_line(source, output, pace=pace, results=Whole(output, Manner()))
        )
    )
    seen: list[Path] = []
    original = read_film

    def counting(path: Path, **options: Any) -> Film:
        seen.append(path)
        return original(path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("radedit.lib.batch.line.read_film", counting)
        thread.start()
        while len(seen) < pace.seats:
            assert thread.is_alive()
            thread.join(0.05)
        thread.join(1.0)  # time enough to read more, were there room
        assert len(seen) == pace.seats
        gate.set()
        thread.join(300)
    assert states(done[0][0]) == {"edited": 7}


def test_a_broken_film_is_told_in_a_sentence_and_the_others_are_edited(
    run_line: Run, write_films: Write, tmp_path: Path
) -> None:
    source = write_films(tmp_path / "films", 3)
    broken = source / "film-001.dcm"
    broken.write_bytes(broken.read_bytes()[:-5000])
    rows, _ = run_line(source, FolderArchive(tmp_path / "out"))
    assert states(rows) == {"edited": 2, "failed": 1}
    (failed,) = [row for row in rows if row["state"] == "failed"]
    assert failed["input"] == "film-001.dcm"
    assert failed["why"].endswith(".")
    assert "Geheim" not in str(rows)


def test_batches_have_one_shape_and_their_edits_are_those_of_films_alone(
    run_line: Run, write_films: Write, tmp_path: Path, editor: Editor
) -> None:
    source = write_films(tmp_path / "films", 3)
    sizes: list[int] = []
    hook = editor.backbone().unet.register_forward_pre_hook(
        lambda _, args, named: sizes.append(len(args[0] if args else named["sample"])),
        with_kwargs=True,
    )
    try:
        rows, _ = run_line(source, FolderArchive(tmp_path / "two"), pace=Pace(2, 2, 1))
    finally:
        hook.remove()
    assert states(rows) == {"edited": 3}
    assert len(sizes) % 2 == 0
    assert sizes[: len(sizes) // 2] * 2 == sizes, "the last batch, of one film, is as the others"
    alone, _ = run_line(source, FolderArchive(tmp_path / "one"))
    by_film = {row["film"]: tmp_path / "one" / row["files"]["sc"] for row in alone}
    for row in rows:
        one = pydicom.dcmread(by_film[row["film"]]).pixel_array.astype(int)
        two = pydicom.dcmread(tmp_path / "two" / row["files"]["sc"]).pixel_array.astype(int)
        assert np.abs(one - two).max() <= BOUND


def test_a_batch_for_which_memory_does_not_suffice_is_halved(
    run_line: Run, write_films: Write, tmp_path: Path, editor: Editor
) -> None:
    def too_much(_: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        if len(args[0] if args else named["sample"]) > 4:  # two films have up to four rows
            raise torch.OutOfMemoryError("no room")

    hook = editor.backbone().unet.register_forward_pre_hook(too_much, with_kwargs=True)
    try:
        rows, _ = run_line(
            write_films(tmp_path / "films", 3), FolderArchive(tmp_path / "out"), pace=Pace(3, 2, 1)
        )
    finally:
        hook.remove()
    assert states(rows) == {"edited": 3}, rows


def test_what_fails_in_a_batch_fails_alone(
    run_line: Run, write_films: Write, tmp_path: Path, editor: Editor, monkeypatch: Any
) -> None:
    original, poison = editor.edit_batch, "1.2.826.0.1.3680043.10.6.2.1.1"

    def edit_batch(cases: Any, *rest: Any) -> list[Edited]:
        if any(case.case.film.sop_instance_uid == poison for case in cases):
            raise ZeroDivisionError("Geheim")
        return original(cases, *rest)

    monkeypatch.setattr(editor, "edit_batch", edit_batch)
    rows, _ = run_line(
        write_films(tmp_path / "films", 3), FolderArchive(tmp_path / "out"), pace=Pace(2, 2, 1)
    )
    assert states(rows) == {"edited": 2, "failed": 1}
    (failed,) = [row for row in rows if row["state"] == "failed"]
    assert failed["film"] == poison
    assert "ZeroDivisionError" in failed["why"]
    assert "Geheim" not in failed["why"]


class Distant:
    """A folder asked as if it were far away, so that films are fetched into the cache."""

    def __init__(self, folder: Path) -> None:
        held = FolderArchive(folder)
        self.find, self.fetch, self.store = held.find, held.fetch, held.store


def ends(work: Callable[[], Any]) -> Any:
    """Give what a run gives, or raises; one that hangs fails the test."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(120)
    assert found, "the run hangs"
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def test_a_run_ends_although_its_cache_cannot_be_cleaned(
    run_line: Run, write_films: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_films(tmp_path / "films", 3)
    uid = read_film(source / "film-001.dcm").sop_instance_uid
    stuck = tmp_path / "cache" / f"{hashlib.sha256(uid.encode()).hexdigest()[:32]}.dcm"
    stuck.mkdir(parents=True)  # what no unlink removes
    output = FolderArchive(tmp_path / "out")
    rows, _ = ends(lambda: run_line(source, output, archive=Distant(source)))
    assert states(rows) == {"edited": 3}
    assert "cannot be removed from the cache" in caplog.text
    assert uid not in caplog.text


def test_a_study_whose_films_cannot_be_chosen_fails_and_the_run_ends(
    run_line: Run, write_films: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise LookupError("no choice")

    monkeypatch.setattr("radedit.lib.batch.line.choose_frontal", broken)
    source, output = write_films(tmp_path / "films", 2), FolderArchive(tmp_path / "out")
    rows, _ = ends(lambda: run_line(source, output))
    assert states(rows) == {"failed": 2}


def test_a_run_that_cannot_say_what_became_of_a_film_ends_with_the_reason(
    write_films: Write, tmp_path: Path, editor: Editor
) -> None:
    def tell(*_: Any) -> None:
        raise OSError("no room for the journal")

    source = FolderArchive(write_films(tmp_path / "films", 2))
    results = Results(FolderArchive(tmp_path / "out"), Manner())
    line = Line(Shop(editor, REQUEST, source, results, tmp_path / "cache", Pace(1, 2, 2)), tell)
    for number, found in enumerate(Cohort(source)):
        assert isinstance(found, Study)
        line.put(number, found)
    line.close()
    with pytest.raises(OSError, match="no room for the journal"):
        ends(line.run)


def test_a_film_whose_edit_shows_nothing_new_is_told_with_its_reason_and_not_edited_again(
    run_line: Run, write_films: Write, tmp_path: Path
) -> None:
    source, output = write_films(tmp_path / "films", 1), FolderArchive(tmp_path / "out")
    dull = replace(REQUEST, parameters={"steps": 2, "guidance": 0.0})  # no prompt is heard
    rows, line = run_line(source, output, request=dull)
    assert [row["state"] for row in rows] == ["unchanged"]
    assert "no change can be seen" in rows[0]["why"]
    with closing(Journal(tmp_path / "work", {})) as journal:
        journal.add(rows[0])
        assert journal.unchanged() == [{"input": rows[0]["input"], "why": rows[0]["why"]}]
        assert journal.failures() == []
        known = journal.known()
    again, line = run_line(source, output, known, request=dull)
    assert [(row["state"], row["again"], row["why"]) for row in again] == [
        ("unchanged", True, rows[0]["why"])
    ]
    assert line.clock.spent()["edit"].films == 0
    assert not output.find(Query())
