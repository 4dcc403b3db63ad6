"""One reader behind every way that vendors answer by: the mean of the displayed film is its score.

`write_onnx` makes a file, `WebVendor` runs a web server in a process of its own that may die,
`DicomVendor` is a DICOM node that sends a report back. A MONAI Label server of a vendor's is
started by `tests/system/test_victims.py`.
"""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import highdicom as hd
import onnx
import pydicom
import requests
from onnx import TensorProto, helper
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event

from radedit_dicom.film import read_film
from radedit_dicom.pixels import to_display

LABEL = "pneumothorax"
NODE = "VENDOR"

WEB = """
import base64, io, json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
import numpy as np
from PIL import Image

port, answers = int(sys.argv[1]), int(sys.argv[2])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({})

    def do_POST(self):
        global answers
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if answers == 0:
            os._exit(1)  # as a process that runs out of memory
        answers -= 1
        film = np.asarray(Image.open(io.BytesIO(base64.b64decode(body["image"]))))
        self.reply({"scores": {"pneumothorax": float(film.mean() / 65535)}})

    def reply(self, said):
        answer = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def write_onnx(path: Path) -> None:
    """Write the reader as one node, for films of any size."""
    node = helper.make_node("ReduceMean", ["film"], ["score"], axes=[2, 3], keepdims=0)
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("film", TensorProto.FLOAT, [1, 1, "rows", "cols"])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


@contextmanager
def web_vendor(port: int, answers: int = -1) -> Iterator[subprocess.Popen[bytes]]:
    """Run the web server; it dies at the question after so many `answers`, -1 = never."""
    process = subprocess.Popen([sys.executable, "-c", WEB, str(port), str(answers)])
    try:
        end = time.monotonic() + 120
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/", timeout=5)
                break
            except requests.ConnectionError:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass
class DicomVendor:
    """A node that takes a film at `port`, reads it, and sends a report to `back_port`."""

    port: int
    back_port: int
    films: int = 0
    failed: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def take(self, event: Event) -> int:
        """Answer at once; the reading comes later, as from AI nodes."""
        film = pydicom.dcmread(io.BytesIO(event.encoded_dataset()))
        self.films += 1
        thread = threading.Thread(target=self.send_back, args=(film,))
        self.threads.append(thread)
        thread.start()
        return 0x0000

    def send_back(self, film: Dataset) -> None:
        """Read the film and store the report at who sent it."""
        score = float(to_display(read_film(film, allow_synthetic=True)).mean())
        entity = AE(NODE)
        entity.add_requested_context(Comprehensive3DSRStorage, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", self.back_port, ae_title="RADEDIT")
        if not association.is_established:
            self.failed.append("nobody took the report")
            return
        status = association.send_c_store(report(film, (LABEL.capitalize(), round(score, 6))))
        if status.Status != 0x0000:
            self.failed.append(f"status {status.Status:04x}")
        association.release()

    @contextmanager
    def running(self) -> Iterator[DicomVendor]:
        """Listen until the end of the block."""
        entity = AE(NODE)
        entity.require_called_aet = True
        for kind in (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation):
            entity.add_supported_context(kind, ExplicitVRLittleEndian)
        server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.take)]
        )
        assert server is not None
        try:
            yield self
        finally:
            for thread in self.threads:
                thread.join(30)
            server.shutdown()


def report(film: Dataset, *findings: tuple[str, float]) -> Dataset:
    """A real TID 1500 report, as highdicom writes it: one group with a probability each."""
    observer = hd.sr.DeviceObserverIdentifyingAttributes(uid=generate_uid(), name="vendor")
    groups = []
    for number, (name, score) in enumerate(findings, start=1):
        groups.append(
            hd.sr.MeasurementsAndQualitativeEvaluations(
                hd.sr.TrackingIdentifier(uid=generate_uid(), identifier=f"finding {number}"),
                finding_type=hd.sr.CodedConcept(f"F{number}", "99VENDOR", name),
                measurements=[
                    hd.sr.Measurement(
                        name=hd.sr.CodedConcept("P1", "99VENDOR", "Probability"),
                        value=score,
                        unit=codes.UCUM.NoUnits,
                    )
                ],
            )
        )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_device_context=hd.sr.ObserverContext(
                codes.DCM.Device, observer_identifying_attributes=observer
            )
        ),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
    )
    return hd.sr.Comprehensive3DSR(
        evidence=[film],
        content=content[0],
        series_instance_uid=generate_uid(),
        series_number=7,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Vendor",
    )
