"""What every test may ask for: films real and made to order, real peers and a free port."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import files
from pathlib import Path
from typing import Any

import loopback
import numpy as np
import pydicom.config
import pytest
from hypothesis import settings
from orthanc import Certificates, Orthanc, OrthancOptions, make_certificates
from postgres import Postgres
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from radedit.lib.bench.intake import search_path
from radedit_dicom.objects import EditObjects, build_objects
from radedit_dicom.pixels import Film, apply_display_delta, read_film
from radedit_dicom.provenance import Provenance, pixel_sha256

MakeDataset = Callable[..., Dataset]

# A keyword misspelt in a test or in the code is an error, not a silent private attribute.
pydicom.config.INVALID_KEYWORD_BEHAVIOR = "RAISE"

# The same pixels whatever processor the tests run on; tests of "auto" say so themselves.
os.environ.setdefault("RADEDIT_DTYPE", "float32")

# A busy machine is no failing test.
settings.register_profile("radedit", deadline=None)
settings.load_profile("radedit")

REPOSITORY = Path(__file__).resolve().parents[1]
PEERS = {
    "dciodvfy": "apt-get install dicom3tools",
    "dcmj2pnm": "apt-get install dcmtk",
    "dcmcjpeg": "apt-get install dcmtk",
    "Orthanc": "apt-get install orthanc orthanc-dicomweb",
    "openssl": "apt-get install openssl",
    "postgres": "apt-get install postgresql",
    "initdb": "apt-get install postgresql",
}


def peers_are_required() -> bool:
    """Whether a missing peer or film fails the test instead of skipping it."""
    return os.environ.get("CI") == "true" or os.environ.get("TEST_REQUIRE_PEERS") == "1"


def missing(what: str) -> None:
    """End the test: skipped with the reason, or failed where peers are required."""
    if peers_are_required():
        pytest.fail(f"{what}, and CI=true or TEST_REQUIRE_PEERS=1 requires it", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """Give the path of an external program by name; end the test when it is not installed."""

    def find(name: str) -> str:
        versions = sorted(str(p) for p in Path("/usr/lib/postgresql").glob("*/bin"))
        found = shutil.which(name, path=os.pathsep.join([search_path(), *reversed(versions)]))
        if found is None:
            missing(f"needs the program {name} ({PEERS.get(name, 'install it')})")
        assert found is not None
        return found

    return find


@pytest.fixture(scope="session")
def slicer_python() -> str:
    """Give the Python that has Slicer's own package; made the first time, which takes minutes."""
    made = subprocess.run(
        [str(REPOSITORY / "scripts" / "slicer-env")],
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    if made.returncode != 0:
        missing(made.stderr.strip())
    return made.stdout.strip()


@pytest.fixture
def free_port() -> int:
    """Give a TCP port of the loopback interface that was free a moment ago."""
    return loopback.free_port()


@pytest.fixture(scope="session")
def new_port() -> Callable[[], int]:
    """Give such a port at each call, for servers that outlive one test."""
    return loopback.free_port


@pytest.fixture(scope="session")
def certificates(
    peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Certificates:
    """Give an authority, a server's and a client's certificate."""
    return make_certificates(tmp_path_factory.mktemp("certificates"), peer("openssl"))


@pytest.fixture(scope="session")
def start_orthanc(
    peer: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., Orthanc]]:
    """Start a real Orthanc at each call; `orthanc.py` says what it can be asked for."""
    running: list[Orthanc] = []

    def start(**options: Any) -> Orthanc:
        wanted = OrthancOptions(**options)
        secure = wanted.tls or wanted.client_certificates or wanted.dicom_tls
        held = request.getfixturevalue("certificates") if secure else None
        port = loopback.free_port
        ports = (port(), port(), port(), port())
        server = Orthanc(peer("Orthanc"), tmp_path_factory.mktemp("orthanc"), ports, wanted, held)
        running.append(server)
        server.start()
        return server

    yield start
    for server in running:
        server.close()


@pytest.fixture(scope="session")
def postgres(peer: Callable[[str], str]) -> Iterator[Postgres]:
    """Give a real PostgreSQL; each test makes a database of its own in it."""
    server = Postgres(peer("initdb"), peer("postgres"), loopback.free_port())
    try:
        server.start()
        yield server
    finally:
        server.close()


def _pydicom_data_file(name: str) -> Path:
    """Find a file of the pydicom-data distribution, which is data without an import package."""
    for file in files("pydicom-data") or []:
        if file.name == name:
            return Path(str(file.locate()))
    raise FileNotFoundError(f"pydicom-data is installed but holds no {name}")


@pytest.fixture(scope="session")
def rg1() -> Path:
    """Give a real chest film: CR, PA, 1841 x 1955 (columns x rows), MONOCHROME1, 15 bits."""
    return _pydicom_data_file("RG1_UNCR.dcm")


@pytest.fixture(scope="session")
def rg3() -> Path:
    """Give a real film of an extremity, which is not a chest."""
    return _pydicom_data_file("RG3_UNCR.dcm")


@pytest.fixture(scope="session")
def hospital_films() -> Path:
    """Give the folder of hospital films that is kept beside the repository, not in it.

    `TEST_FILMS` names it; without that it is looked for as shared/data beside the checkout.
    """
    named = os.environ.get("TEST_FILMS")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():  # nobody else has them, so their absence fails nothing
        pytest.skip("needs the folder of hospital films (name it in TEST_FILMS)")
    return folder


def make_dataset(pixels: np.ndarray | None = None, bits: int = 12, **attributes: Any) -> Dataset:
    """Make a frontal chest CR, with any attribute replaced (None: left out)."""
    if pixels is None:
        pixels = np.random.default_rng(5).integers(0, 1 << bits, (24, 20))
    signed = bool(attributes.get("PixelRepresentation", 0))
    allocated = attributes.get("BitsAllocated", 8 if bits == 8 else 16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values: dict[str, Any] = {
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": "1.2.3.4",
        "SeriesInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2",
        "PatientName": "Geheim^Nam\u00e9",
        "PatientID": "4711",
        "PatientBirthDate": "19500101",
        "PatientSex": "F",
        "StudyDate": "20240102",
        "StudyTime": "101112",
        "StudyID": "7",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "Doc^Tor",
        "SpecificCharacterSet": "ISO_IR 100",
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
    } | attributes
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    kind = ("i" if signed else "u") + str(allocated // 8)
    data = pixels.astype(f"<{kind}").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return dataset


@pytest.fixture(name="make_dataset", scope="session")
def make_dataset_fixture() -> MakeDataset:
    return make_dataset


def make_provenance(film: Film, edited: np.ndarray, masks: dict[str, np.ndarray]) -> Provenance:
    """Make the record of an edit."""
    keep = masks.get("keep mask")
    return Provenance(
        edit_id="0f8fad5bd9cb469fa16570867728950e",
        tool="radedit",
        tool_version="0.1.0",
        method="radedit",
        model="phantom",
        model_sha256="ab" * 32,
        prompt="Kein Erguss \u2013 ça va",
        invert_prompt="",
        steps=20,
        skip=0.1,
        guidance=7.5,
        seed=7,
        support="band",
        edit_mask="box:2,2,9,9",
        keep_mask=None if keep is None else "box:12,2,18,9",
        source_sop_instance_uid=film.sop_instance_uid,
        source_pixel_sha256=pixel_sha256(film.stored),
        result_pixel_sha256=pixel_sha256(edited),
        edit_mask_sha256=pixel_sha256(masks["edit mask"]),
        keep_mask_sha256=None if keep is None else pixel_sha256(keep),
        platform={"python": "3.11", "torch": "2.13.0"},
        batch=1,
        created="2025-03-04T05:06:07.000008+01:00",
    )


def make_edit(film: Film, mode: Any = "new", score: Any = None) -> tuple[np.ndarray, EditObjects]:
    """Edit a film by hand and build its objects."""
    rows, columns = film.shape
    edit = np.zeros(film.shape, dtype=np.bool_)
    edit[rows // 4 : rows // 2, columns // 4 : columns // 2] = True
    keep = np.zeros(film.shape, dtype=np.bool_)
    keep[rows // 2 : rows // 2 + 3, :] = True
    masks = {"edit mask": edit, "keep mask": keep, "left lung": ~keep}
    edited = apply_display_delta(film, np.where(edit, 0.07, 0.0).astype(np.float32))
    provenance = make_provenance(film, edited, masks)
    scores = {"fidelity": 0.75, "directional similarity": None} if score is None else score
    return edited, build_objects(film, edited, masks, provenance, scores, mode)


@pytest.fixture(name="make_edit", scope="session")
def make_edit_fixture() -> Callable[..., tuple[np.ndarray, EditObjects]]:
    return make_edit


@pytest.fixture(name="make_provenance", scope="session")
def make_provenance_fixture() -> Callable[..., Provenance]:
    return make_provenance


@pytest.fixture(scope="session")
def provenance(make_dataset: MakeDataset) -> Provenance:
    film = read_film(make_dataset())
    mask = np.ones(film.shape, dtype=np.bool_)
    return replace(make_provenance(film, film.stored, {"edit mask": mask}), keep_mask=None)
