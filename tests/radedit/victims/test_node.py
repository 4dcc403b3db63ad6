"""A victim behind DICOM: a real node of pynetdicom that takes a film and calls back."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer
from vendors import report

from radedit.lib.errors import VictimError, VictimGoneError
from radedit.lib.victims.locate import open_victim
from radedit.lib.victims.protocol import Victim
from radedit_dicom.film import Film, read_film

NODE = "VENDOR"


@dataclass
class Node:
    """A vendor's node: what it was sent, and what it sends back to whom."""

    port: int
    back_port: int
    makes: Callable[[Dataset], list[Dataset]] = lambda _: []
    title: str = NODE
    delay_s: float = 0
    got: list[Dataset] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def take(self, event: Event) -> int:
        film = pydicom.dcmread(io.BytesIO(event.encoded_dataset()))
        self.got.append(film)
        thread = threading.Thread(target=self.send_back, args=(film,))
        self.threads.append(thread)
        thread.start()
        return 0x0000

    def send_back(self, film: Dataset) -> None:
        """Work a while, then call whoever asked, as AI nodes do."""
        time.sleep(self.delay_s)
        entity = AE(self.title)
        for kind in (Comprehensive3DSRStorage, SegmentationStorage, SecondaryCaptureImageStorage):
            entity.add_requested_context(kind, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", self.back_port, ae_title="RADEDIT")
        if not association.is_established:
            self.statuses.append(-1)
            return
        for result in self.makes(film):
            self.statuses.append(int(association.send_c_store(result).Status))
        association.release()


@pytest.fixture
def node(new_port: Callable[[], int]) -> Iterator[Node]:
    held = Node(new_port(), new_port())
    entity = AE(NODE)
    entity.require_called_aet = True
    entity.add_supported_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    server = entity.start_server(
        ("127.0.0.1", held.port), block=False, evt_handlers=[(evt.EVT_C_STORE, held.take)]
    )
    assert isinstance(server, ThreadedAssociationServer)
    yield held
    for thread in held.threads:
        thread.join(30)
    server.shutdown()


@pytest.fixture
def victim(node: Node, tmp_path: Path) -> Callable[..., Victim]:
    """Open the node as a victim, with what a TOML file says more of it."""

    def opened(results: str = '["sr"]', timeout_s: float = 30, top: str = "") -> Victim:
        path = tmp_path / "node.toml"
        path.write_text(
            f'victim = "dicom:{NODE}@127.0.0.1:{node.port}"\n{top}\n'
            f"[limits]\ntimeout_s = {timeout_s}\nretries = 1\npause_s = 0.05\n"
            f"[dicom]\nresults = {results}\nlisten_port = {node.back_port}\n"
        )
        return open_victim(str(path))

    return opened


@pytest.fixture
def film(make_dataset: Callable[..., Dataset]) -> Film:
    pixels = np.random.default_rng(3).integers(0, 4096, (40, 30))
    return read_film(make_dataset(pixels, WindowCenter=2048, WindowWidth=4096))


def display_of(film: Film) -> NDArray[np.float32]:
    return np.asarray(film.stored / 4095, dtype=np.float32)


def segmentation(film: Dataset) -> Dataset:
    """A SEG that highdicom writes: what is bright on the film."""
    film = pydicom.dcmread(io.BytesIO(_written(film)))
    return hd.seg.Segmentation(
        source_images=[film],
        pixel_array=(film.pixel_array > 2048).astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[
            hd.seg.SegmentDescription(
                1,
                "bright",
                codes.SCT.MorphologicallyAbnormalStructure,
                codes.SCT.Mass,
                hd.seg.SegmentAlgorithmTypeValues.MANUAL,
            )
        ],
        series_instance_uid=generate_uid(),
        series_number=8,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Vendor",
        manufacturer_model_name="Model",
        software_versions="1",
        device_serial_number="1",
    )


def capture(film: Dataset, said: str) -> Dataset:
    """A Secondary Capture with the result in its comment."""
    made = hd.sc.SCImage.from_ref_dataset(
        film,
        np.zeros((8, 8), dtype=np.uint8),
        "MONOCHROME2",
        8,
        hd.CoordinateSystemNames.PATIENT,
        generate_uid(),
        9,
        generate_uid(),
        1,
        "Vendor",
        patient_orientation=("L", "F"),
    )
    made.ImageComments = said
    return made


def _written(dataset: Dataset) -> bytes:
    out = io.BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def test_the_probabilities_of_a_report_are_the_scores(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    node.makes = lambda d: [report(d, ("Pneumothorax", 0.83), ("Pleural effusion", 0.1))]
    opened = victim(top='[rename]\n"pleural effusion" = "effusion"')
    answer = opened.answer(display_of(film), film=film)
    assert answer.scores == {"pneumothorax": 0.83, "effusion": 0.1}
    assert answer.segments is None
    assert node.statuses == [0x0000]
    sent = node.got[0]
    assert sent.PatientID == "RADEDIT-TEST"
    assert "Geheim" not in str(sent)
    assert sent.SOPInstanceUID != film.sop_instance_uid
    np.testing.assert_array_equal(sent.pixel_array, film.stored)


def test_a_segmentation_comes_back_on_the_films_pixels(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    node.makes = lambda d: [segmentation(d)]
    answer = victim('["seg"]').answer(display_of(film), film=film)
    assert answer.segments is not None
    np.testing.assert_array_equal(answer.segments["bright"], film.stored > 2048)
    assert answer.scores == {}


def test_a_film_that_is_stored_mirrored_goes_as_it_is_and_its_segments_lie_as_the_display(
    node: Node, victim: Callable[..., Victim], make_dataset: Callable[..., Dataset]
) -> None:
    pixels = np.random.default_rng(3).integers(0, 4096, (40, 30))
    film = read_film(make_dataset(pixels, PatientOrientation=["R", "F"], WindowCenter=2048,
                                  WindowWidth=4096))  # fmt: skip
    node.makes = lambda d: [segmentation(d)]
    display = np.ascontiguousarray(display_of(film)[:, ::-1])  # the patient's left on the right
    answer = victim('["seg"]').answer(display, film=film)
    np.testing.assert_array_equal(node.got[0].pixel_array, film.stored)
    assert node.got[0].PatientOrientation == ["R", "F"]
    assert answer.segments is not None
    np.testing.assert_array_equal(answer.segments["bright"], display > 2048 / 4095)


def test_all_kinds_that_are_waited_for_make_one_answer(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    node.makes = lambda d: [segmentation(d), report(d, ("Mass", 0.6))]
    answer = victim('["sr", "seg"]').answer(display_of(film), film=film)
    assert answer.scores == {"mass": 0.6}
    assert answer.segments is not None


def test_the_scores_of_a_capture_are_read_from_its_comment(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    node.makes = lambda d: [capture(d, "AI: Pneumothorax: 0.91; Effusion: 0.2")]
    answer = victim('["sc"]').answer(display_of(film), film=film)
    assert answer.scores == {"pneumothorax": 0.91, "effusion": 0.2}
    node.makes = lambda d: [capture(d, "see the picture")]
    with pytest.raises(VictimError, match="SC holds no score"):
        victim('["sc"]').answer(display_of(film), film=film)


def test_per_cent_in_the_comment_of_a_capture_are_hundredths(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    node.makes = lambda d: [capture(d, "Pneumothorax: 12 %; Effusion: 3.5%; Mass: 0.2")]
    answer = victim('["sc"]').answer(display_of(film), film=film)
    assert answer.scores == pytest.approx({"pneumothorax": 0.12, "effusion": 0.035, "mass": 0.2})
    node.makes = lambda d: [capture(d, "Pneumothorax: 12")]
    with pytest.raises(VictimError, match="no number from 0 to 1"):  # and not 1, its first digit
        victim('["sc"]').answer(display_of(film), film=film)


def test_scores_in_the_text_of_a_report_are_read_by_a_pattern(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    def in_words(sent: Dataset) -> Dataset:
        made = report(sent, ("Mass", 0.5))
        for element in made.iterall():
            if element.keyword == "TextValue":
                element.value = "AI result. Likelihood of pneumothorax is 87 %, of effusion is 4 %."
        return made

    node.makes = lambda d: [in_words(d)]
    pattern = r"sr_pattern = '[Oo]f (?P<label>\w+) is (?P<score>\d+ ?%)'"
    answer = victim(f'["sr"]\n{pattern}').answer(display_of(film), film=film)
    assert answer.scores == pytest.approx({"pneumothorax": 0.87, "effusion": 0.04})
    node.makes = lambda d: [report(d, ("Mass", 0.5))]
    pattern = r"sr_pattern = 'probability: (?P<score>[\d.]+)(?P<label>)'"
    assert victim(f'["sr"]\n{pattern}').answer(display_of(film), film=film).scores == {"": 0.5}


def test_a_score_that_is_no_number_is_a_missing_answer(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    def twofold(sent: Dataset) -> Dataset:
        made = report(sent, ("Mass", 0.5))
        held = [element for element in made.iterall() if element.keyword == "NumericValue"]
        held[0].value = ["0.5", "0.7"]
        return made

    node.makes = lambda d: [twofold(d)]
    with pytest.raises(VictimError, match="SR holds a score that is no number"):
        victim().answer(display_of(film), film=film)
    node.makes = lambda d: [capture(d, "Mass: 0,83")]
    pattern = r"text_pattern = '(?P<label>\w+): *(?P<score>[\d.,]+)'"
    with pytest.raises(VictimError, match="SC holds a score that is no number"):
        victim(f'["sc"]\n{pattern}').answer(display_of(film), film=film)


def test_a_display_without_a_film_can_be_asked_about_too(
    node: Node, victim: Callable[..., Victim]
) -> None:
    node.makes = lambda d: [report(d, ("Mass", float(d.pixel_array.mean() / 65535)))]
    display = np.full((20, 10), 0.25, dtype=np.float32)
    assert victim().answer(display).scores == pytest.approx({"mass": 0.25}, abs=1e-4)


def test_a_result_of_another_film_is_not_taken_for_this_ones(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    late = Dataset()
    late.update(_an_older(film))
    node.makes = lambda d: [report(late, ("Mass", 0.99)), report(d, ("Mass", 0.2))]
    assert victim().answer(display_of(film), film=film).scores == {"mass": 0.2}


def _an_older(film: Film) -> Dataset:
    older = Dataset()
    older.update(film.header)
    older.StudyInstanceUID, older.SOPInstanceUID = generate_uid(), generate_uid()
    older.file_meta = film.header.file_meta
    return older


def test_several_that_ask_at_once_take_turns_and_each_gets_its_own_answer(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    node.makes = lambda d: [report(d, ("Mass", float(d.pixel_array.mean() / 65535)))]
    node.delay_s = 0.2
    levels = [0.2, 0.4, 0.6]
    victims = [victim() for _ in levels]

    def ask(number: int) -> float:
        display = np.full((12, 10), levels[number], dtype=np.float32)
        return victims[number].answer(display).scores["mass"]

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ask, range(3))) == pytest.approx(levels, abs=1e-4)


def test_a_port_that_another_program_has_stops_the_run(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    with (
        socket.create_server(("127.0.0.1", node.back_port)),
        pytest.raises(VictimGoneError, match="cannot be listened on"),
    ):
        victim().answer(display_of(film), film=film)
    assert node.got == []


def test_no_result_in_time_is_a_missing_answer(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    with pytest.raises(VictimError, match=r"gave no SR of the film within 1 s") as late:
        victim(timeout_s=1).answer(display_of(film), film=film)
    assert not isinstance(late.value, VictimGoneError)
    assert len(node.got) == 1


def test_a_stranger_may_not_answer_for_the_node(
    node: Node, victim: Callable[..., Victim], film: Film
) -> None:
    node.title = "STRANGER"
    node.makes = lambda d: [report(d, ("Mass", 0.99))]
    with pytest.raises(VictimError, match="gave no SR"):
        victim(timeout_s=2).answer(display_of(film), film=film)
    assert node.statuses == [-1]


def test_a_node_that_is_not_there_is_gone(
    new_port: Callable[[], int], tmp_path: Path, film: Film
) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        f'victim = "dicom:{NODE}@127.0.0.1:{new_port()}"\n[limits]\nretries = 1\npause_s = 0.01\n'
        f"[dicom]\nlisten_port = {new_port()}\n"
    )
    with pytest.raises(VictimGoneError, match="cannot be reached"):
        open_victim(str(path)).answer(display_of(film), film=film)


def test_a_film_that_may_name_its_patient_is_not_sent(
    node: Node, victim: Callable[..., Victim], make_dataset: Callable[..., Dataset]
) -> None:
    film = read_film(make_dataset(BurnedInAnnotation="YES"))
    with pytest.raises(VictimError, match="burned into its pixels"):
        victim().answer(display_of(film), film=film)
    assert node.got == []
