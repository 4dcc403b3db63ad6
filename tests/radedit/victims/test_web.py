"""A victim behind HTTP: a real server on a socket, which answers, refuses, dawdles and dies."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from radedit.lib.errors import ParameterError, VictimError, VictimGoneError
from radedit.lib.victims.locate import open_victim
from radedit.lib.victims.protocol import Victim
from radedit_dicom.film import Film, read_film

Display = NDArray[np.float32]
OPTIONS = "[limits]\ntimeout_s = 5\nretries = 2\npause_s = 0.05\nmax_mb = 1\n"


@dataclass
class Vendor:
    """What the server does next, and what it was sent."""

    port: int = 0
    delay_s: float = 0
    statuses: list[int] = field(default_factory=list)
    raw: bytes | None = None
    seen: list[dict[str, str]] = field(default_factory=list)
    objects: list[pydicom.Dataset] = field(default_factory=list)

    def answer(self, image: Display) -> bytes:
        if self.raw is not None:
            return self.raw
        out = io.BytesIO()
        Image.fromarray((image > 0.5).astype(np.uint8) * 255).save(out, "PNG")
        held = base64.b64encode(out.getvalue()).decode()
        result = {"scores": {"Helligkeit": float(image.mean())}, "segments": {"white": held}}
        return json.dumps({"result": result, **result}).encode()


def decoded(content: bytes) -> Display:
    return np.asarray(Image.open(io.BytesIO(content)), dtype=np.float32) / 65535


def handler(vendor: Vendor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            vendor.seen.append(dict(self.headers))
            time.sleep(vendor.delay_s)
            status = vendor.statuses.pop(0) if vendor.statuses else 200
            answer = vendor.answer(self.image(body)) if status == 200 else b"patient unknown"
            with suppress(ConnectionError):  # who asked has hung up
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def image(self, body: bytes) -> Display:
            kind = self.headers["Content-Type"]
            if kind == "application/json":
                return decoded(base64.b64decode(json.loads(body)["image"]))
            whole = b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body
            message = BytesParser(policy=HTTP).parsebytes(whole)
            part = next(iter(message.iter_parts()))  # type: ignore[attr-defined]
            content = part.get_payload(decode=True)
            if part.get_content_type() == "image/png":
                return decoded(content)
            vendor.objects.append(pydicom.dcmread(io.BytesIO(content)))
            pixels = vendor.objects[-1].pixel_array.astype(np.float32)
            return np.asarray(pixels / pixels.max(), dtype=np.float32)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    vendor = Vendor()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(vendor))
    vendor.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield vendor
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def victim(vendor: Vendor, tmp_path: Path) -> Callable[[str], Victim]:
    """Open the server as a victim, with what a TOML file says more of it."""

    def opened(more: str = "", top: str = "") -> Victim:
        path = tmp_path / "vendor.toml"
        place = f'victim = "http:http://127.0.0.1:{vendor.port}/predict"\n'
        path.write_text(f"{place}{top}\n{OPTIONS}{more}")
        return open_victim(str(path))

    return opened


def half_white(rows: int = 30, cols: int = 20) -> Display:
    display = np.zeros((rows, cols), dtype=np.float32)
    display[: rows // 2] = 1
    return display


@pytest.mark.parametrize("body", ["json", "multipart"])
def test_scores_and_segments_come_back_of_a_film_that_was_sent(
    body: str, victim: Callable[..., Victim]
) -> None:
    opened = victim(
        f'[http]\nbody = "{body}"\nscores = "result.scores"\n', '[rename]\nHelligkeit = "bright"'
    )
    answer = opened.answer(half_white())
    assert answer.scores == pytest.approx({"bright": 0.5})
    assert answer.segments is not None
    np.testing.assert_array_equal(answer.segments["white"], half_white() > 0.5)


def test_a_film_arrives_with_all_of_its_levels(
    vendor: Vendor, victim: Callable[..., Victim]
) -> None:
    ramp = np.linspace(0, 1, 600, dtype=np.float32).reshape(30, 20)
    assert victim().answer(ramp).scores["Helligkeit"] == pytest.approx(ramp.mean(), abs=1e-5)


def test_an_object_goes_without_its_patient_and_still_says_that_it_is_synthetic(
    vendor: Vendor, victim: Callable[..., Victim], make_dataset: Callable[..., pydicom.Dataset]
) -> None:
    dataset = make_dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7",
        SyntheticData="YES",
        WindowCenter=2048,
        WindowWidth=4096,
    )
    film: Film = read_film(dataset, allow_synthetic=True)
    opened = victim('[http]\nbody = "multipart"\ncontent = "dicom"\n')
    opened.answer(half_white(*film.shape), film=film)
    sent = vendor.objects[0]
    assert "4711" not in str(sent)
    assert "Geheim" not in str(sent)
    assert sent.SyntheticData == "YES"
    assert sent.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1"  # a model of films takes a CR
    np.testing.assert_array_equal(sent.pixel_array, film.stored)
    assert "without its identity" in opened.card.preprocessing


def test_segments_of_an_object_that_is_stored_mirrored_lie_as_the_display(
    victim: Callable[..., Victim], make_dataset: Callable[..., pydicom.Dataset]
) -> None:
    film = read_film(make_dataset(PatientOrientation=["R", "F"]))
    display = (film.stored / film.stored.max()).astype(np.float32)[:, ::-1]
    opened = victim('[http]\nbody = "multipart"\ncontent = "dicom"\n')
    answer = opened.answer(np.ascontiguousarray(display), film=film)
    assert answer.segments is not None
    np.testing.assert_array_equal(answer.segments["white"], display > 0.5)


def test_scores_as_a_list_go_by_the_labels_of_the_file(
    vendor: Vendor, victim: Callable[..., Victim]
) -> None:
    vendor.raw = b'{"scores": [0.1, 0.9, 0.3]}'
    top = 'labels = ["effusion", "", "oedema"]'
    assert victim(top=top).answer(half_white()).scores == {"effusion": 0.1, "oedema": 0.3}
    with pytest.raises(VictimError, match="gave 3 scores; expected one for each of the 0"):
        victim().answer(half_white())


def test_a_server_that_is_starting_is_asked_again(
    vendor: Vendor, victim: Callable[..., Victim]
) -> None:
    vendor.statuses = [503, 502]
    assert victim().answer(half_white()).scores
    assert len(vendor.seen) == 3


def test_a_server_that_stays_away_is_gone(vendor: Vendor, victim: Callable[..., Victim]) -> None:
    vendor.statuses = [503] * 9
    with pytest.raises(VictimGoneError, match="answers 503"):
        victim().answer(half_white())
    assert len(vendor.seen) == 3


def test_nobody_at_the_address_is_gone(free_port: int, tmp_path: Path) -> None:
    path = tmp_path / "vendor.toml"
    path.write_text(f'victim = "http://127.0.0.1:{free_port}/x"\n[limits]\npause_s = 0.01\n')
    with pytest.raises(VictimGoneError, match="cannot be reached"):
        open_victim(str(path)).answer(half_white())


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"<html>", "is no JSON"),
        (b'{"other": 1}', "holds neither scores nor segments"),
        (b"[]", "holds neither"),
        (b'{"scores": {"a": NaN}}', "no number from 0 to 1"),
        (b'{"scores": {"a": 97}}', "no number from 0 to 1"),
        (b'{"scores": {"a": null}}', "no number from 0 to 1"),
        (b'{"scores": {"a": true}}', "no number from 0 to 1"),
        (b'{"scores": "high"}', "neither an object nor a list"),
        (b'{"segments": {"a": "AAAA"}}', "no PNG in base64"),
        (b'{"segments": [1]}', "no object of label to PNG"),
        (b"[" + b" " * (1 << 20) + b"]", "larger than 1 MiB"),
    ],
)
def test_an_answer_that_cannot_be_used_is_missing_and_never_guessed(
    raw: bytes, said: str, vendor: Vendor, victim: Callable[..., Victim]
) -> None:
    vendor.raw = raw
    with pytest.raises(VictimError, match=said) as refused:
        victim().answer(half_white())
    assert not isinstance(refused.value, VictimGoneError)
    assert len(vendor.seen) == 1  # it answered: asking again would give the same


def test_a_film_that_the_server_refuses_is_missing(
    vendor: Vendor, victim: Callable[..., Victim]
) -> None:
    vendor.statuses = [422]
    with pytest.raises(VictimError, match='answered 422 to a film, and said "patient unknown"'):
        victim().answer(half_white())
    assert len(vendor.seen) == 1


def test_an_answer_that_comes_too_late_is_missing(vendor: Vendor, tmp_path: Path) -> None:
    vendor.delay_s = 1.5
    path = tmp_path / "vendor.toml"
    path.write_text(f'victim = "http://127.0.0.1:{vendor.port}/x"\n[limits]\ntimeout_s = 0.5\n')
    with pytest.raises(VictimError, match=r"no answer within 0.5 s") as late:
        open_victim(str(path)).answer(half_white())
    assert not isinstance(late.value, VictimGoneError)


def test_a_film_that_was_paid_for_is_not_asked_about_again(
    vendor: Vendor, victim: Callable[..., Victim], tmp_path: Path
) -> None:
    for _ in range(2):
        opened = victim(top='remember = "answers"')
        assert opened.answer(half_white()).scores == pytest.approx({"Helligkeit": 0.5})
    assert len(vendor.seen) == 1
    vendor.statuses = [422]
    with pytest.raises(VictimError):
        opened.answer(half_white() / 2)
    assert opened.answer(half_white() / 2).scores  # what did not come is asked for again
    assert len(list((tmp_path / "answers").iterdir())) == 2


def test_a_token_goes_along_and_is_asked_for_before_the_run(
    vendor: Vendor, victim: Callable[..., Victim], monkeypatch: pytest.MonkeyPatch
) -> None:
    form = '[http]\ntoken_variable = "VENDOR_TOKEN"\n'
    monkeypatch.delenv("VENDOR_TOKEN", raising=False)
    with pytest.raises(ParameterError, match="VENDOR_TOKEN holds no token"):
        victim(form)
    monkeypatch.setenv("VENDOR_TOKEN", "s3cret")
    victim(form).answer(half_white())
    assert vendor.seen[0]["Authorization"] == "Bearer s3cret"


def test_a_picture_of_8_bits_and_a_size_is_sent_and_its_segments_lie_on_the_film(
    vendor: Vendor, victim: Callable[..., Victim], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[NDArray[np.uint8]] = []

    def seen(content: bytes) -> Display:
        sent.append(np.asarray(Image.open(io.BytesIO(content))))
        return np.asarray(sent[-1], dtype=np.float32) / 255

    monkeypatch.setitem(globals(), "decoded", seen)
    opened = victim("[http]\nbits = 8\n[input]\nsize = [64, 64]\npad = true\n")
    display = half_white(120, 80)
    answer = opened.answer(display)
    assert (sent[0].shape, sent[0].dtype) == ((64, 64), np.uint8)
    assert sent[0].max() == 255
    assert answer.segments is not None
    assert answer.segments["white"].shape == display.shape
    assert np.mean(answer.segments["white"] != (display > 0.5)) < 0.02
    assert "64 x 64" in opened.card.preprocessing
    assert "8 bits" in opened.card.preprocessing


@pytest.mark.parametrize("more", ["low = -1.0", "mean = [0.5]", "channels = 2", "channels = 3"])
def test_an_input_that_no_picture_can_be_is_refused(
    more: str, victim: Callable[..., Victim]
) -> None:
    with pytest.raises(ParameterError, match="one grey channel"):
        victim(f"[input]\n{more}\n")


def test_a_service_in_per_cent_is_understood_and_one_that_says_so_too(
    vendor: Vendor, victim: Callable[..., Victim]
) -> None:
    vendor.raw = b'{"scores": {"a": 90, "b": 0.5}}'
    answer = victim().answer(half_white())
    assert (answer.scores, answer.is_percent) == ({"a": 0.9, "b": 0.005}, True)
    vendor.raw = b'{"scores": {"a": 0.5}}'
    told = victim(top='unit = "percent"').answer(half_white())
    assert (told.scores, told.is_percent) == ({"a": 0.005}, False)


def test_an_operating_point_that_nobody_told_is_called_assumed(
    victim: Callable[..., Victim],
) -> None:
    assert (victim().card.threshold, victim().card.assumed) == (0.5, True)
    assert not victim(top="threshold = 0.5").card.assumed
