"""What every test may ask for: real films, real peers and a free port."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path

import pydicom.config
import pytest
from hypothesis import settings

# A keyword misspelt in a test or in the code is an error, not a silent private attribute.
pydicom.config.INVALID_KEYWORD_BEHAVIOR = "RAISE"

# A busy machine is no failing test.
settings.register_profile("radedit", deadline=None)
settings.load_profile("radedit")

REPOSITORY = Path(__file__).resolve().parents[1]
PEERS = {
    "dciodvfy": "apt-get install dicom3tools",
    "dcmj2pnm": "apt-get install dcmtk",
    "Orthanc": "apt-get install orthanc orthanc-dicomweb",
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
        search_path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
        found = shutil.which(name, path=search_path)
        if found is None:
            missing(f"needs the program {name} ({PEERS.get(name, 'install it')})")
        assert found is not None
        return found

    return find


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def free_port() -> int:
    """Give a TCP port of the loopback interface that was free a moment ago."""
    return _free_port()


@pytest.fixture(scope="session")
def new_port() -> Callable[[], int]:
    """Give such a port at each call, for servers that outlive one test."""
    return _free_port


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
