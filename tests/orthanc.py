"""A real Orthanc for a test: its own ports, storage and certificates, on loopback.

Ask for the fixture `start_orthanc` and call it; every server is ended with the session, by
its own process id::

    def test_x(start_orthanc):
        server = start_orthanc()                        # DICOMweb and DICOM, no password
        server.dicom_web                                # "http://127.0.0.1:PORT/dicom-web"
        server.aet, server.dicom_port                   # for C-STORE, C-FIND, C-GET, C-MOVE
        server.upload(part10_bytes)                     # what the archive holds beforehand
        server.held(), server.file(sop_instance_uid)    # what it holds now, by its own REST API
        server.stop(); server.start()                   # same ports, same storage
        server.kill()                                   # as by a power cut

    start_orthanc(users={"physicist": "secret"})        # basic authentication
    start_orthanc(tls=True)                             # https; trust server.certificates.ca
    start_orthanc(client_certificates=True)             # and it wants one from the client
    start_orthanc(dicom_tls=True)                       # DICOM over TLS, client certificate too
    start_orthanc(storage_mb=1); server.upload(...); server.protect_all()   # a full disk
    start_orthanc(extra={"LimitFindInstances": 7})      # any other key of its configuration

One application entity may query it and is a destination for C-MOVE: `PEER_AET` at
127.0.0.1 : `server.peer_port` (listen there). A called title other than `server.aet` is
refused. To stop in good order takes Orthanc 3.5 s; to be killed or started, a fraction of one.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from front import Front

PEER_AET = "RADEDIT"
_PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")
_START_S = 30.0
_STOP_S = 20.0


@dataclass(frozen=True)
class Certificates:
    """PEM files made by an authority of the test's own.

    Attributes
    ----------
    ca : Path
        The authority's certificate: who trusts it, trusts the server and the client.
    server, server_key, client, client_key : Path
        The server's is valid for 127.0.0.1 and localhost.
    """

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def make_certificates(folder: Path, openssl: str) -> Certificates:
    """Make an authority, a server's and a client's certificate with the program openssl."""
    folder.mkdir(parents=True, exist_ok=True)

    def call(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    authority = "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.crt"
    call(*authority.split(), "-subj", "/CN=radedit test authority")
    return _signed(folder, call)


def _signed(folder: Path, call: Callable[..., None]) -> Certificates:
    for name in ("server", "client"):
        request = f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr"
        call(*request.split(), "-subj", f"/CN=radedit test {name}")
        (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        sign = f"x509 -req -days 2 -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial"
        call(*sign.split(), "-extfile", "san", "-out", f"{name}.crt")
    paths = ("ca.crt", "server.crt", "server.key", "client.crt", "client.key")
    return Certificates(*(folder / name for name in paths))


@dataclass(frozen=True)
class OrthancOptions:
    """How one Orthanc is set up; see the module's docstring."""

    users: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    client_certificates: bool = False
    dicom_tls: bool = False
    storage_mb: int = 0
    aet: str = "ORTHANC"
    extra: Mapping[str, Any] = field(default_factory=dict)


class Orthanc:
    """One Orthanc process and its storage.

    Parameters
    ----------
    program : str
        Path of the Orthanc executable.
    folder : Path
        For storage, configuration and log; its own.
    ports : tuple of int
        HTTP, DICOM, that of the peer it sends C-MOVE results to, and HTTPS.
    certificates : Certificates, optional
        Required with TLS of either kind.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        ports: tuple[int, int, int, int],
        options: OrthancOptions,
        certificates: Certificates | None = None,
    ) -> None:
        self.folder, self.options = folder, options
        self.http_port, self.dicom_port, self.peer_port, self.https_port = ports
        self.certificates = certificates
        self.tls = options.tls or options.client_certificates
        self._front = self._tls_front() if self.tls else None
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "orthanc.json").write_text(json.dumps(self._configuration(), indent=1))

    @property
    def aet(self) -> str:
        """Give its application entity title."""
        return self.options.aet

    @property
    def dicom_web(self) -> str:
        """Give the address of its DICOMweb API, without a slash at the end."""
        if self.tls:
            return f"https://127.0.0.1:{self.https_port}/dicom-web"
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    @property
    def pid(self) -> int:
        """Give its process id."""
        assert self._process is not None, "this Orthanc is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it, again too, and wait until it answers."""
        assert self._process is None, "this Orthanc runs already"
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, str(self.folder / "orthanc.json")],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self.rest("GET", "/system")
                return
            except requests.ConnectionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    tail = (self.folder / "orthanc.log").read_text(errors="replace")[-3000:]
                    raise RuntimeError(f"Orthanc does not start:\n{tail}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """End it as a service is ended; its storage stays."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it as a power cut does; its storage stays."""
        self._end(subprocess.Popen.kill)

    def close(self) -> None:
        """Kill it, and what relays to it."""
        self.kill()
        front, self._front = self._front, None
        if front is not None:
            front.close()

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        how(process)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def rest(self, method: str, path: str, data: bytes | str | None = None) -> requests.Response:
        """Ask its own REST API; a refusal is an error of the test."""
        with requests.Session() as session:
            session.trust_env = False
            for user, password in self.options.users.items():
                session.auth = (user.encode(), password.encode())
            address = f"http://127.0.0.1:{self.http_port}{path}"
            response = session.request(method, address, data=data, timeout=30)
        response.raise_for_status()
        return response

    def upload(self, part10: bytes) -> None:
        """Put one object into its storage, past everything that is under test."""
        self.rest("POST", "/instances", part10)

    def held(self) -> list[str]:
        """List the SOP instance UIDs it holds, sorted; one that it holds twice is there twice."""
        rows = self.rest("GET", "/instances?expand").json()
        return sorted(row["MainDicomTags"]["SOPInstanceUID"] for row in rows)

    def file(self, sop_instance_uid: str) -> bytes:
        """Give the stored file of an object."""
        rows = self.rest("GET", "/instances?expand").json()
        (found,) = [
            row["ID"] for row in rows if row["MainDicomTags"]["SOPInstanceUID"] == sop_instance_uid
        ]
        return self.rest("GET", f"/instances/{found}/file").content

    def protect_all(self) -> None:
        """Forbid it to make room by removing old patients, as Orthanc does when it is full."""
        for patient in self.rest("GET", "/patients").json():
            self.rest("PUT", f"/patients/{patient}/protected", "1")

    def _configuration(self) -> dict[str, Any]:
        options = self.options
        return (
            {
                "Name": "radedit test",
                "StorageDirectory": str(self.folder / "storage"),
                "IndexDirectory": str(self.folder / "storage"),
                "MaximumStorageSize": options.storage_mb,
                "MaximumStorageMode": "Reject",  # Orthanc before 1.11.3 recycles all the same
                "Plugins": [_dicom_web_plugin()],
                "DicomWeb": {
                    "Enable": True,
                    "Root": "/dicom-web/",
                    "Host": f"127.0.0.1:{self.http_port}",
                    "Ssl": self.tls,
                },
                "HttpPort": self.http_port,
                "HttpThreadsCount": 8,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": bool(options.users),
                "RegisteredUsers": dict(options.users),
                "DicomAet": options.aet,
                "DicomPort": self.dicom_port,
                "DicomCheckCalledAet": True,
                "DicomModalities": {
                    "radedit": {
                        "AET": PEER_AET,
                        "Host": "127.0.0.1",
                        "Port": self.peer_port,
                        "UseDicomTls": options.dicom_tls,
                    }
                },
                "OverwriteInstances": False,
                "JobsHistorySize": 100,
            }
            | self._dicom_tls()
            | dict(options.extra)
        )

    def _dicom_tls(self) -> dict[str, Any]:
        held = self.certificates
        if held is None or not self.options.dicom_tls:
            return {}
        return {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(held.server),
            "DicomTlsPrivateKey": str(held.server_key),
            "DicomTlsTrustedCertificates": str(held.ca),
        }

    def _tls_front(self) -> Front:
        held = self.certificates
        assert held is not None, "TLS needs certificates"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(held.server, held.server_key)
        if self.options.client_certificates:
            context.load_verify_locations(held.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return Front(self.https_port, self.http_port, context)


def _dicom_web_plugin() -> str:
    for folder in _PLUGIN_FOLDERS:
        for path in sorted(Path(folder).glob("libOrthancDicomWeb.so*")):
            return str(path)
    raise RuntimeError("Orthanc's DICOMweb plugin is missing (apt-get install orthanc-dicomweb)")
