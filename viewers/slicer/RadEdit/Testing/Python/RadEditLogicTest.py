"""The logic in a real MRML scene, without a server."""

from __future__ import annotations

import io
import socket
import sys
import threading
import unittest
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as Slicer's module paths do

import numpy as np
import slicer
import slicer.util
import vtk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from RadEditLib.client import Client, Job, ServerError
from RadEditLib.logic import Drawn, EditError, Logic, oriented, sop_uid_of
from RadEditLib.parameter import Parameter, png, remembered
from RadEditLib.segments import masks_of
from stub_qt import Settings

ROWS, COLUMNS = 31, 23  # a swap of the two, or a flip, would show
SPACING = (0.2, 0.3, 1.0)


def film(scene: slicer.vtkMRMLScene, slices: int = 1) -> slicer.vtkMRMLScalarVolumeNode:
    """A film as Slicer loads one: columns to the patient's left, rows to the feet."""
    volume = slicer.vtkMRMLScalarVolumeNode()
    scene.AddNode(volume)
    pixels = np.arange(slices * ROWS * COLUMNS, dtype=np.uint16).reshape(slices, ROWS, COLUMNS)
    slicer.util.updateVolumeFromArray(volume, pixels)
    volume.SetSpacing(*SPACING)
    volume.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    return volume


def lopsided() -> np.ndarray:
    """A mask that is another one after any flip or turn: bool [ROWS, COLUMNS]."""
    mask = np.zeros((ROWS, COLUMNS), dtype=bool)
    mask[2:9, 3:6] = True
    mask[7:9, 3:15] = True
    return mask


def drawn(
    scene: slicer.vtkMRMLScene, on: slicer.vtkMRMLScalarVolumeNode, *masks: np.ndarray
) -> Drawn:
    """Segments as somebody draws them on a volume."""
    node = slicer.vtkMRMLSegmentationNode()
    scene.AddNode(node)
    ids = [
        node.AddSegmentFromBinaryLabelmapRepresentation(oriented(mask, on), f"s{i}", (1, 0, 0))
        for i, mask in enumerate(masks)
    ]
    return Drawn(node, tuple(ids))


class SceneTest(unittest.TestCase):
    """Masks and volumes in a scene."""

    def setUp(self) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.logic = Logic(self.scene, Client("http://127.0.0.1:1"))
        self.film = film(self.scene)

    def test_a_drawn_mask_comes_back_pixel_by_pixel(self) -> None:
        got = self.logic.mask(drawn(self.scene, self.film, lopsided()), self.film)
        np.testing.assert_array_equal(got, lopsided())

    def test_several_segments_are_one_mask(self) -> None:
        other = np.roll(lopsided(), 10, axis=0)
        got = self.logic.mask(drawn(self.scene, self.film, lopsided(), other), self.film)
        np.testing.assert_array_equal(got, lopsided() | other)

    def test_a_mask_drawn_on_a_flipped_copy_lands_where_it_was_seen(self) -> None:
        flipped = film(self.scene)
        matrix = vtk.vtkMatrix4x4()
        self.film.GetIJKToRASMatrix(matrix)
        # The same place in the patient, with the rows counted from below.
        matrix.SetElement(1, 1, SPACING[1])
        matrix.SetElement(1, 3, -SPACING[1] * (ROWS - 1))
        flipped.SetIJKToRASMatrix(matrix)
        got = self.logic.mask(drawn(self.scene, flipped, lopsided()[::-1]), self.film)
        np.testing.assert_array_equal(got, lopsided())

    def test_a_film_that_was_moved_takes_its_mask_along(self) -> None:
        shift = slicer.vtkMRMLLinearTransformNode()
        self.scene.AddNode(shift)
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 4 * SPACING[0])  # four columns towards the patient's right
        shift.SetMatrixTransformToParent(matrix)
        mask = drawn(self.scene, self.film, lopsided())
        self.film.SetAndObserveTransformNodeID(shift.GetID())
        seen = np.roll(lopsided(), 4, axis=1)  # the mask stayed where it was in the room
        np.testing.assert_array_equal(self.logic.mask(mask, self.film), seen)
        mask.segmentation.SetAndObserveTransformNodeID(shift.GetID())
        np.testing.assert_array_equal(self.logic.mask(mask, self.film), lopsided())

    def test_an_empty_mask_and_one_beside_the_film_are_refused(self) -> None:
        nothing = drawn(self.scene, self.film, np.zeros((ROWS, COLUMNS), dtype=bool))
        away = film(self.scene)
        away.SetOrigin(500, 0, 0)
        beside = drawn(self.scene, away, lopsided())
        for mask in (nothing, beside, Drawn(nothing.segmentation, ())):
            with self.assertRaisesRegex(EditError, "empty on this film"):
                self.logic.mask(mask, self.film)

    def test_no_node_is_left_behind(self) -> None:
        mask = drawn(self.scene, self.film, lopsided())
        before = self.scene.GetNumberOfNodes()
        self.logic.mask(mask, self.film)
        self.assertEqual(self.scene.GetNumberOfNodes(), before)

    def test_a_volume_of_several_slices_is_refused(self) -> None:
        volume = film(self.scene, slices=2)
        with self.assertRaisesRegex(EditError, "not one grey film"):
            self.logic.mask(drawn(self.scene, self.film, lopsided()), volume)

    def test_a_volume_that_is_not_from_one_dicom_object_is_refused(self) -> None:
        for uids in (None, "", "1.2 1.3"):
            self.film.SetAttribute("DICOM.instanceUIDs", uids)
            with self.assertRaisesRegex(EditError, "not loaded from one DICOM film"):
                sop_uid_of(self.film)

    def test_an_edit_without_a_prompt_is_not_sent(self) -> None:
        with self.assertRaisesRegex(EditError, "prompt"):
            self.logic.start(Parameter(prompt=" "), self.film)

    def test_a_job_that_failed_shows_its_own_sentence(self) -> None:
        job = Job("1", "failed", 0, 0, "", "The film is no chest.", {})
        with self.assertRaisesRegex(EditError, "The film is no chest."):
            self.logic.show(job, self.film)


class RequestTest(unittest.TestCase):
    """What is sent."""

    def test_a_mask_is_a_png_of_the_films_pixels(self) -> None:
        content = png(lopsided())
        self.assertTrue(content.startswith(b"\x89PNG\r\n\x1a\n"))
        self.assertEqual(content[16:24], (COLUMNS).to_bytes(4, "big") + ROWS.to_bytes(4, "big"))
        data = content[content.index(b"IDAT") + 4 : content.index(b"IEND") - 8]
        pixels = np.frombuffer(zlib.decompress(data), np.uint8).reshape(ROWS, COLUMNS + 1)
        np.testing.assert_array_equal(pixels[:, 1:] == 255, lopsided())

    def test_what_was_not_chosen_is_left_to_the_server(self) -> None:
        request = Parameter("no effusion", "task:x", numbers={"steps": 5}).request("1.2", {})
        self.assertEqual(
            request,
            {
                "sop_instance_uid": "1.2",
                "prompt": "no effusion",
                "edit_mask": "task:x",
                "study_mode": "new",
                "steps": 5,
            },
        )

    def test_choices_are_remembered_and_prompts_are_not(self) -> None:
        settings = Settings()
        Parameter("secret", edit_model="m", numbers={"steps": 7}).remember(settings)
        self.assertNotIn("secret", str(settings))
        kept = remembered(settings, {"steps": int, "skip": float})
        self.assertEqual((kept.edit_model, dict(kept.numbers)), ("m", {"steps": 7}))
        settings["RadEdit/numbers/steps"] = "many"
        self.assertEqual(dict(remembered(settings, {"steps": int}).numbers), {})

    def test_an_address_that_is_none_is_refused(self) -> None:
        for address in (
            "", "127.0.0.1:8000", "file:///etc", "http://user:pw@host", "http://[::1",
            "http://host:abc", "http://host:99999", "http://host/ohif", "http://host?a=b",
        ):  # fmt: skip
            with self.subTest(address), self.assertRaisesRegex(ServerError, "must be http"):
                Client(address)

    def test_a_token_that_no_request_can_carry_is_refused(self) -> None:
        for token in ("geheim–token", "two\nlines"):
            with self.assertRaisesRegex(ServerError, "copy it again"):
                Client("http://127.0.0.1:1", token)

    def test_a_server_that_is_not_there_is_one_sentence(self) -> None:
        with self.assertRaisesRegex(ServerError, r"^The server cannot be reached \(\w+\); see"):
            Client("http://127.0.0.1:1", timeout_s=5).options()


class AnswerTest(unittest.TestCase):
    """A real port that answers what no RadEdit server does."""

    def answered(self, content: bytes) -> ServerError:
        """Ask a port that says one thing and hangs up."""
        with socket.create_server(("127.0.0.1", 0)) as listening:

            def answer() -> None:
                caller, _ = listening.accept()
                with caller:
                    caller.recv(65536)
                    caller.sendall(content)

            thread = threading.Thread(target=answer)
            thread.start()
            with self.assertRaises(ServerError) as caught:
                Client(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout_s=5).options()
            thread.join(10)
        return caught.exception

    def test_a_port_that_speaks_no_http_is_one_sentence(self) -> None:
        for content in (b"nonsense\r\n", b"\x15\x03\x03\x00\x02\x02\x46", b"HTTP/1.1 OK\r\n\r\n"):
            self.assertRegex(str(self.answered(content)), "no RadEdit server; check the address")

    def test_an_answer_that_breaks_off_is_one_sentence(self) -> None:
        start = b"HTTP/1.1 200 OK\r\n"
        for content in (
            start + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{",
            start + b"Content-Length: 99\r\n\r\n{",
            b"",
        ):
            self.assertRegex(str(self.answered(content)), "broke off in the middle")


class SegmentsTest(unittest.TestCase):
    """A DICOM SEG of two segments, one of them without a frame."""

    def content(self, is_shared: bool = False) -> bytes:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
            "1.2.840.10008.5.1.4.1.1.66.4"
        )
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset.Rows, dataset.Columns, dataset.NumberOfFrames = ROWS, COLUMNS, 1
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 1
        dataset.HighBit = dataset.PixelRepresentation = 0
        dataset.SegmentSequence = [Dataset(), Dataset()]
        for number, label in ((1, "edit mask"), (2, "keep mask")):
            dataset.SegmentSequence[number - 1].SegmentNumber = number
            dataset.SegmentSequence[number - 1].SegmentLabel = label
        group, of = Dataset(), Dataset()
        of.ReferencedSegmentNumber = 1
        group.SegmentIdentificationSequence = [of]
        dataset.PerFrameFunctionalGroupsSequence = [Dataset() if is_shared else group]
        dataset.SharedFunctionalGroupsSequence = [group if is_shared else Dataset()]
        bits = np.packbits(lopsided().ravel(), bitorder="little").tobytes()
        dataset.PixelData = bits + b"\0" * (len(bits) % 2)
        dataset["PixelData"].VR = "OB"
        out = io.BytesIO()
        dataset.save_as(out, enforce_file_format=True)
        return out.getvalue()

    def test_each_segment_is_a_mask(self) -> None:
        for is_shared in (False, True):
            masks = masks_of(self.content(is_shared), (ROWS, COLUMNS))
            np.testing.assert_array_equal(masks["edit mask"], lopsided())
            self.assertFalse(masks["keep mask"].any())

    def test_another_size_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "another size"):
            masks_of(self.content(), (COLUMNS, ROWS))


if __name__ == "__main__":
    unittest.main()
