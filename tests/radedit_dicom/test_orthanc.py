"""The Orthanc of the tests does what the tests of the archives build on."""

from __future__ import annotations

import socket
import ssl
from io import BytesIO

import pytest
import requests
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import Verification


def encoded(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_it_keeps_what_it_holds_when_it_is_ended_and_started_again(
    start_orthanc, make_dataset, way
):
    server = start_orthanc()
    server.upload(encoded(make_dataset()))
    pid = server.pid
    getattr(server, way)()
    with pytest.raises(requests.ConnectionError):
        server.rest("GET", "/system")
    server.start()
    assert server.pid != pid
    assert server.held() == ["1.2.3.4"]
    assert server.file("1.2.3.4") == encoded(make_dataset())


def test_it_answers_over_dicom_to_its_own_title_only(start_orthanc):
    server = start_orthanc()
    ae = AE("ANYBODY")
    ae.add_requested_context(Verification)
    for title, accepted in ((server.aet, True), ("OTHER", False)):
        association = ae.associate("127.0.0.1", server.dicom_port, ae_title=title)
        assert association.is_established is accepted
        if accepted:
            assert association.send_c_echo().Status == 0
            association.release()


def test_it_wants_the_password_and_the_certificates_it_was_started_with(start_orthanc):
    server = start_orthanc(users={"physicist": "secret"}, client_certificates=True)
    files, address = server.certificates, server.dicom_web + "/studies"
    own = (str(files.client), str(files.client_key))
    assert server.held() == []
    assert requests.get(address, verify=str(files.ca), cert=own, timeout=10).status_code == 401
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(address, cert=own, timeout=10)
    with pytest.raises(requests.ConnectionError):
        requests.get(address, verify=str(files.ca), timeout=10)


def test_it_speaks_dicom_over_tls_to_who_shows_a_certificate(start_orthanc):
    server = start_orthanc(dicom_tls=True)
    files = server.certificates
    context = ssl.create_default_context(cafile=str(files.ca))
    with pytest.raises(ssl.SSLError), _connected(server, context) as bare:
        bare.recv(1)
    context.load_cert_chain(files.client, files.client_key)
    ae = AE("ANYBODY")
    ae.add_requested_context(Verification)
    association = ae.associate(
        "127.0.0.1", server.dicom_port, ae_title=server.aet, tls_args=(context, "localhost")
    )
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()


def _connected(server, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", server.dicom_port), timeout=10)
    return context.wrap_socket(plain, server_hostname="localhost")


def test_it_refuses_more_than_its_storage_holds_once_all_is_protected(start_orthanc, make_dataset):
    server = start_orthanc(storage_mb=1)
    pixels = make_dataset().pixel_array.repeat(20, 0).repeat(20, 1)
    server.upload(encoded(make_dataset(pixels, PatientID="1")))
    server.protect_all()
    server.upload(encoded(make_dataset(pixels, PatientID="1", SOPInstanceUID="1.2.3.5")))
    with pytest.raises(requests.HTTPError):
        server.upload(encoded(make_dataset(pixels, PatientID="2", SOPInstanceUID="1.2.3.6")))
    assert server.held() == ["1.2.3.4", "1.2.3.5"]
