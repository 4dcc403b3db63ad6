"""Masks from another MONAI Label server: a real one, its bad tasks, and a bad network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from front import Answer, Cut, Front, Hang
from monai_server import environment, serving, start_server
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from radedit.lib import masks
from radedit.lib.errors import FilmError, MaskError, NotFoundError, SourceError
from radedit.lib.mask_grammar import parse
from radedit.lib.remote_access import RemoteAccess
from radedit.lib.sources import FilmSources, embedded_lungs
from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.film import Film, read_film

PEER = '''
"""A MONAI Label app of somebody else: a good task, and what tasks do wrong."""

import tempfile
import time

import itk
import numpy as np
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from radedit.lib.infers.lung_segmentation import LungSegmentation


class Task(InferTask):
    """Mark the dense pixels (1) and the light ones (2); `how` says what goes wrong."""

    def __init__(self, how):
        self.how = how
        labels = ["left lung", "right lung"] if how == "sides" else ["dense", "light"]
        super().__init__(InferType.SEGMENTATION, labels, 2, how)

    def is_valid(self):
        return True

    def __call__(self, request):
        if self.how == "fails":
            raise RuntimeError("a reason that names Geheim^Patient")
        if self.how == "slow":
            time.sleep(4)
        if self.how == "nothing":
            return None, {}
        pixels = np.squeeze(itk.array_from_image(itk.imread(request["image"])))
        middle = np.median(pixels)
        labels = np.where(pixels > middle, 1, 2).astype(np.uint8)
        if self.how == "small":
            labels = labels[:7, :5]
        if self.how == "sides":  # as the reader sees the film, not as the patient stands
            labels = np.zeros(pixels.shape, np.uint8)
            rows, cols = labels.shape
            for label, at in ((1, cols // 4), (2, 5 * cols // 8)):
                labels[rows // 4 : rows * 3 // 4, at : at + cols // 8] = label
        if self.how == "grey":
            labels = pixels.astype(np.float32) / 7
        image = itk.image_from_array(np.ascontiguousarray(labels[:, ::-1]))
        image.SetDirection(np.diag([-1.0, 1.0]))  # mirrored, and it says so
        path = tempfile.NamedTemporaryFile(suffix=".nii.gz").name
        itk.imwrite(image, path)
        return path, {}


class Peer(MONAILabelApp):
    """All of them."""

    def init_infers(self):
        kinds = ("dense", "fails", "slow", "nothing", "small", "grey", "sides")
        tasks = {kind: Task(kind) for kind in kinds}
        return {**tasks, "lung_segmentation": LungSegmentation()}

    def __init__(self, app_dir, studies, conf):
        super().__init__(app_dir=app_dir, studies=studies, conf=conf, name="peer")
'''


@dataclass(frozen=True)
class Peer:
    """A running MONAI Label server of somebody else."""

    url: str
    folder: Path

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def films(self) -> list[Path]:
        """List the films it holds now."""
        return [path for path in (self.folder / "sessions").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def peer_server(
    tmp_path_factory: pytest.TempPathFactory, new_port: Callable[[], int]
) -> Iterator[Peer]:
    """Start MONAI Label's own server with the app above; end it by its own process."""
    peer = Peer(f"http://127.0.0.1:{new_port()}", tmp_path_factory.mktemp("peer"))
    for name in ("app", "studies", "temporary"):
        (peer.folder / name).mkdir()
    (peer.folder / "app" / "main.py").write_text(PEER)
    sessions = {"MONAI_LABEL_SESSION_PATH": str(peer.folder / "sessions")}
    studies = str(peer.folder / "studies")
    command = start_server("--studies", studies, "--port", str(peer.port), app=peer.folder / "app")
    around = {**environment(peer.folder / "temporary"), **sessions}
    with serving([*command, "--host", "127.0.0.1"], around, peer.folder / "log", peer.url):
        yield peer


@pytest.fixture(scope="module")
def film(rg1: Path) -> Film:
    return read_film(rg1)


@pytest.fixture(scope="module")
def small(make_dataset: Callable[..., Dataset]) -> Film:
    return read_film(make_dataset(PatientName="Geheim^Patient", PatientID="Kennung-4711"))


@pytest.fixture
def front(new_port: Callable[[], int]) -> Iterator[Callable[..., tuple[Front, str]]]:
    """Put something in front of a port; give it and its address."""
    fronts: list[Front] = []

    def put(behind: int, *faults: Any) -> tuple[Front, str]:
        port = new_port()
        fronts.append(Front(port, behind, faults=faults))
        return fronts[-1], f"http://127.0.0.1:{port}"

    yield put
    for one in fronts:
        one.close()


def drawn(name: str, film: Film, servers: str, **limits: int) -> NDArray[np.bool_]:
    """Draw `remote:NAME` as a request would, with one server listed."""
    sources = FilmSources(film, remotes=RemoteAccess((servers,), **limits))
    frame = masks.Frame(*film.shape, film.spacing_mm)
    return masks.evaluate(parse(f"remote:{name}"), frame, sources)


def refused(name: str, film: Film, url: str, **limits: int) -> str:
    """Give the sentence that a mask is refused with."""
    with pytest.raises((SourceError, NotFoundError)) as caught:
        drawn(f"{url}/{name}", film, url, **limits)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert "Geheim" not in said
    assert url not in said
    return said


def test_a_second_server_gives_the_same_lungs_as_this_one(peer_server: Peer, film: Film) -> None:
    for label, mask in embedded_lungs(film).items():
        name = f"{peer_server.url}/lung_segmentation"
        name += "" if label == "lungs" else f":{label}"
        found = drawn(name, film, peer_server.url)
        # Where both lungs overlap, the label image of the task holds the right one only.
        assert (found != mask).mean() < 1e-4, label
    assert peer_server.films() == []


def test_labels_in_order_and_a_mirrored_answer_come_out_right(
    peer_server: Peer, small: Film
) -> None:
    # The server names the labels of its task in GET /info only, as a list.
    dense = small.stored > np.median(small.stored)
    found = drawn(f"{peer_server.url}/dense:dense", small, peer_server.url)
    np.testing.assert_array_equal(found, dense)
    both = f"{peer_server.url}/dense:light + remote:{peer_server.url}/dense:dense"
    assert drawn(both, small, peer_server.url).all()


def test_lungs_of_another_server_on_the_wrong_side_are_refused_with_task_and_label(
    peer_server: Peer, film: Film
) -> None:
    with pytest.raises(FilmError, match="label 'left lung' of the task sides cannot be used"):
        drawn(f"{peer_server.url}/sides:left_lung", film, peer_server.url)


def test_the_film_is_sent_without_its_identity_once_and_does_not_stay(
    peer_server: Peer, small: Film, front: Callable[..., tuple[Front, str]]
) -> None:
    before, url = front(peer_server.port)
    drawn(f"{url}/dense:dense + remote:{url}/dense:light", small, url)
    sent = b"".join(bytes(one) for one in before.sent)
    assert sent.count(b"PUT /session/") == sent.count(b"DELETE /session/") == 1
    assert small.stored.astype("<u2").tobytes() in sent
    for secret in ("Geheim", "Kennung", "A1", "Doc^Tor", "19500101", "20240102"):
        assert secret.encode() not in sent.replace(b"HTTP/1.1", b""), secret
    for uid in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert f"{small.header[uid].value}\0".encode() not in sent
    assert peer_server.films() == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("small", "7 x 5 pixels and the film 24 x 20"),
        ("fails", "answered 500 to POST /infer/fails"),
        ("nothing", "holds no label image"),
        ("grey", "no label image, whose pixels are a few whole numbers"),
        ("hearts", "has no task 'hearts'; it has dense, fails, grey, lung_segmentation"),
        ("dense:spleen", "no label 'spleen'; its labels are dense, light"),
    ],
)
def test_what_a_task_does_wrong_is_said_in_one_sentence_and_no_film_stays(
    peer_server: Peer, small: Film, name: str, says: str
) -> None:
    assert says in refused(name, small, peer_server.url)
    assert peer_server.films() == []


def test_a_task_that_hangs_is_given_up_and_the_film_removed(peer_server: Peer, small: Film) -> None:
    started = time.monotonic()
    assert "no mask within 1 s" in refused("slow", small, peer_server.url, timeout_s=1)
    assert time.monotonic() - started < 12
    end = time.monotonic() + 20
    while peer_server.films() and time.monotonic() < end:
        time.sleep(0.1)
    assert peer_server.films() == []


def test_no_redirection_is_followed(
    peer_server: Peer, small: Film, front: Callable[..., tuple[Front, str]]
) -> None:
    goal, elsewhere = front(peer_server.port)
    moved = b"HTTP/1.1 307 Moved\r\nLocation: %s/info/\r\nContent-Length: 0\r\n\r\n"
    _, url = front(peer_server.port, Answer(moved % elsewhere.encode()))
    assert "answered 307 to GET /info/" in refused("dense", small, url)
    assert goal.sent == []


def test_a_silent_a_broken_and_a_missing_server_are_one_sentence_each(
    peer_server: Peer,
    small: Film,
    front: Callable[..., tuple[Front, str]],
    free_port: int,
) -> None:
    _, silent = front(peer_server.port, Hang())
    assert "no mask within 1 s" in refused("dense", small, silent, timeout_s=1)
    _, broken = front(peer_server.port, Cut(300))
    assert "broke off" in refused("dense", small, broken)
    missing = f"http://127.0.0.1:{free_port}"
    assert "cannot be reached" in refused("dense", small, missing)


def test_an_answer_over_the_limit_is_not_read_to_its_end(
    small: Film, peer_server: Peer, front: Callable[..., tuple[Front, str]]
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    _, url = front(peer_server.port, Answer(head + b" " * (3 * 2**20)))
    assert "larger than 1 MiB" in refused("dense", small, url, max_mb=1)


def test_what_is_no_monai_label_server_is_sent_no_film(
    small: Film, peer_server: Peer, front: Callable[..., tuple[Front, str]]
) -> None:
    for body in (b"<html>", b"[]", b'{"models": 3}'):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        before, url = front(peer_server.port, Answer(head + body))
        assert "cannot be used" in refused("dense", small, url)
        assert not any(b"PUT" in bytes(one) for one in before.sent)


@pytest.mark.parametrize(
    "name",
    [
        "http://127.0.0.1:1/dense",
        "http://listed.example.org.evil.example.net/dense",
        "http://listed.example.org@evil.example.net/dense",
        "http://listed.example.org:99/dense",
        "https://listed.example.org/dense",
        "file:///etc/passwd",
        "dense",
    ],
)
def test_a_server_that_is_not_listed_is_never_called(small: Film, name: str) -> None:
    with pytest.raises(MaskError, match="the setting remote_servers does not list") as caught:
        drawn(name, small, "http://listed.example.org")
    assert name not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../session", "a/b", "?x", "%2e"])
def test_a_task_of_a_listed_server_is_a_plain_name(small: Film, name: str) -> None:
    with pytest.raises(MaskError, match="names no task"):
        drawn(f"http://listed.example.org/{name}", small, "http://listed.example.org")


def test_a_film_with_text_burned_in_is_not_sent(peer_server: Peer, small: Film) -> None:
    header = Dataset()
    header.update(small.header)
    header.BurnedInAnnotation = "YES"
    with pytest.raises(UnsupportedImageError, match="burned into its pixels"):
        drawn(f"{peer_server.url}/dense", replace(small, header=header), peer_server.url)
