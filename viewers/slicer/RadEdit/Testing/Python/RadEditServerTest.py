"""The module against a running server: what a user does, with stand-ins for Qt's widgets alone.

RADEDIT_TEST_SERVER names the server, RADEDIT_SERVER_TOKEN its token, and RADEDIT_TEST_FILM the
SOP Instance UID of a chest film that it serves. It must edit with a model that is quick enough to
wait for.
"""

from __future__ import annotations

import os
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as Slicer's module paths do

import numpy as np
import slicer
import slicer.util
import stub_qt  # before the panel, which imports qt
from RadEditLib.client import Client, ServerError
from RadEditLib.logic import Drawn, Logic, oriented
from RadEditLib.panel import Panel
from RadEditLib.parameter import Parameter

SERVER = os.environ.get("RADEDIT_TEST_SERVER", "")
FILM = os.environ.get("RADEDIT_TEST_FILM", "")
TOKEN = os.environ.get("RADEDIT_SERVER_TOKEN", "")
WAIT_S = 600.0
STEPS = 6


@unittest.skipUnless(SERVER, "RADEDIT_TEST_SERVER names no server")
class ServerTest(unittest.TestCase):
    """One session of a user in front of the window."""

    def setUp(self) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.ui = stub_qt.load_ui()
        self.settings = stub_qt.Settings()
        self.panel = Panel(self.ui, self.scene, self.settings)
        self.ui.server.setText(SERVER)
        self.ui.connectButton.click()
        self.assertRegex(self.ui.message.text, r"^Connected; \d+ studies\.$")

    def test_a_film_is_listed_loaded_edited_and_shown_with_its_masks(self) -> None:
        film = self.load()
        edit, keep = self.draw(film)
        seen = self.run_edit("Right pneumothorax")
        self.assertRegex(self.ui.message.text, r"^Done in \d+ s; synthetic")
        self.assertGreater(len(seen), 1, "progress was seen while it ran")
        result = self.named("vtkMRMLScalarVolumeNode", "RadEdit: Right pneumothorax")
        masks = self.named("vtkMRMLSegmentationNode", "RadEdit masks: Right pneumothorax")
        self.check_pixels(film, result, edit, keep)
        self.check_masks(masks, result, {"edit mask": edit & ~keep, "keep mask": keep})

    def test_an_edit_can_be_cancelled_and_asked_for_again(self) -> None:
        film = self.load()
        self.draw(film)
        self.ui.steps.setValue(300)
        self.ui.prompt.setCurrentText("Cardiomegaly")
        for _ in range(2):
            self.ui.runButton.click()
            self.assertTrue(self.ui.cancelButton.enabled, self.ui.message.text)
            self.assertFalse(self.ui.runButton.enabled)
            self.assertFalse(self.panel.job.is_over)
            self.wait_until(lambda: self.panel.job.state == "running" and self.panel.job.done > 0)
            self.ui.cancelButton.click()
            self.wait_until(lambda: self.panel.job is None)
            self.assertEqual(self.ui.message.text, "The edit was cancelled.")
            self.assertTrue(self.ui.runButton.enabled)
        self.assertEqual(self.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"), 1)

    def test_a_mask_can_come_from_a_task_of_the_server(self) -> None:
        film = self.load()
        tasks = [item for item in self.ui.editMask.items if item.startswith("task:")]
        self.assertIn("task:lung_segmentation:left", tasks)
        self.ui.editMask.setCurrentText("task:lung_segmentation:left")
        self.run_edit("No acute cardiopulmonary process")
        masks = self.named("vtkMRMLSegmentationNode", "RadEdit masks: No acute")
        ids = masks.GetSegmentation().GetSegmentIDs()
        self.assertEqual(len(ids), 1)
        mask = self.panel.logic.mask(Drawn(masks, tuple(ids)), film)
        self.assertTrue(0.03 < mask.mean() < 0.3)
        columns = np.nonzero(mask)[1]  # they run to the patient's left on this film
        self.assertGreater(columns.mean(), mask.shape[1] / 2)

    def test_a_mask_of_another_films_size_is_refused_in_the_servers_words(self) -> None:
        volume = slicer.vtkMRMLScalarVolumeNode()
        self.scene.AddNode(volume)
        slicer.util.updateVolumeFromArray(volume, np.zeros((1, 40, 30), np.uint16))
        volume.SetAttribute("DICOM.instanceUIDs", FILM)
        logic = Logic(self.scene, self.panel.logic.client)
        node = slicer.vtkMRMLSegmentationNode()
        self.scene.AddNode(node)
        mask = np.ones((40, 30), dtype=bool)
        image = oriented(mask, volume)
        drawn = Drawn(
            node, (node.AddSegmentFromBinaryLabelmapRepresentation(image, "x", (1, 0, 0)),)
        )
        with self.assertRaisesRegex(ServerError, "40 x 30"):
            job = logic.start(Parameter("Right pneumothorax"), volume, drawn)
            end = time.monotonic() + WAIT_S
            while not job.is_over and time.monotonic() < end:
                time.sleep(0.2)
                job = logic.client.job(job.id)
            raise ServerError(job.error)  # refused at once or by the worker, in the same words

    def test_a_film_that_the_server_does_not_have_is_said_in_one_sentence(self) -> None:
        with self.assertRaisesRegex(ServerError, r"^There is no .*\.$"):
            self.panel.logic.client.image_of("1.2.3.4.5")

    def test_the_address_is_kept_for_the_next_session_and_the_token_is_not(self) -> None:
        if not TOKEN:
            self.skipTest("the server has no token")
        self.load()
        self.ui.editMask.setCurrentText("task:lung_segmentation:left")
        self.run_edit("No pneumothorax")
        self.assertEqual(self.settings["RadEdit/server"], SERVER)
        self.assertEqual(self.settings["RadEdit/numbers/steps"], STEPS)
        self.assertNotIn(TOKEN, str(self.settings))

    def test_a_wrong_token_is_said_in_one_sentence(self) -> None:
        if not TOKEN:
            self.skipTest("the server has no token")
        with self.assertRaisesRegex(ServerError, "wants a token, or another one"):
            Client(SERVER, "wrong").options()

    def load(self) -> slicer.vtkMRMLScalarVolumeNode:
        """Choose studies until one has the film, then load it."""
        for study in range(len(self.ui.study.items)):
            self.ui.study.choose(study)
            if [film.sop_uid for film in self.panel._films] == [FILM]:
                break
        self.ui.loadButton.click()
        film = self.ui.volume.currentNode()
        self.assertIsNotNone(film, self.ui.message.text)
        self.assertEqual(film.GetAttribute("DICOM.instanceUIDs"), FILM)
        self.assertTrue(self.panel.logic.client.image_of(FILM))
        return film

    def draw(self, film: slicer.vtkMRMLScalarVolumeNode) -> tuple[np.ndarray, np.ndarray]:
        """Draw what may change in the upper left of the film, and what must stay within it."""
        rows, columns = slicer.util.arrayFromVolume(film)[0].shape
        edit, keep = np.zeros((2, rows, columns), dtype=bool)
        edit[rows // 4 : rows // 2, columns // 8 : columns // 3] = True
        keep[rows // 3 : rows // 3 + 40, :] = True
        for mask, selector, combo in (
            (edit, self.ui.editSegments, self.ui.editMask),
            (keep, self.ui.keepSegments, self.ui.keepMask),
        ):
            node = slicer.vtkMRMLSegmentationNode()
            self.scene.AddNode(node)
            image = oriented(mask, film)
            chosen = node.AddSegmentFromBinaryLabelmapRepresentation(image, "drawn", (1, 0, 0))
            selector.setCurrentNode(node)
            selector.chosen = (chosen,)
            combo.setCurrentText("drawn segments")
        return edit, keep

    def run_edit(self, prompt: str) -> set[int]:
        """Press Edit and let the timer run until the job is over; give the steps that were seen."""
        self.ui.prompt.setCurrentText(prompt)
        self.ui.steps.setValue(STEPS)
        self.ui.runButton.click()
        self.assertIsNotNone(self.panel.job, self.ui.message.text)
        seen: set[int] = set()

        def over() -> bool:
            seen.add(int(self.ui.progress.value))
            return self.panel.job is None

        self.wait_until(over)
        return seen

    def wait_until(self, done: object) -> None:
        end = time.monotonic() + WAIT_S
        while not done():
            self.assertLess(time.monotonic(), end, self.ui.message.text)
            if self.panel._timer.active:
                self.panel._timer.timeout.emit()
            time.sleep(0.1)

    def named(self, kind: str, start: str) -> object:
        count = self.scene.GetNumberOfNodesByClass(kind)
        nodes = [self.scene.GetNthNodeByClass(number, kind) for number in range(count)]
        found = [node for node in nodes if node.GetName().startswith(start)]
        self.assertEqual(len(found), 1, self.ui.message.text)
        return found[0]

    def check_pixels(
        self,
        film: slicer.vtkMRMLScalarVolumeNode,
        result: slicer.vtkMRMLScalarVolumeNode,
        edit: np.ndarray,
        keep: np.ndarray,
    ) -> None:
        before = slicer.util.arrayFromVolume(film)[0].astype(np.int64)
        changed = slicer.util.arrayFromVolume(result)[0].astype(np.int64) != before
        self.assertFalse(changed[keep].any())
        self.assertGreater(changed[edit & ~keep].mean(), 0.3)
        side = max(changed.shape)
        far = np.zeros_like(changed)
        margin = side // 10  # the support's band is 32 of the model's 512 pixels or 16 of 256
        rows, columns = np.nonzero(edit)
        far[: max(0, rows.min() - margin)] = True
        far[rows.max() + margin :] = True
        far[:, columns.max() + margin :] = True
        self.assertFalse(changed[far].any())

    def check_masks(
        self,
        node: slicer.vtkMRMLSegmentationNode,
        volume: slicer.vtkMRMLScalarVolumeNode,
        expected: dict[str, np.ndarray],
    ) -> None:
        segmentation = node.GetSegmentation()
        for label, mask in expected.items():
            segment_id = segmentation.GetSegmentIdBySegmentName(label)
            self.assertTrue(segment_id, label)
            got = self.panel.logic.mask(Drawn(node, (segment_id,)), volume)
            np.testing.assert_array_equal(got, mask, label)


if __name__ == "__main__":
    unittest.main(verbosity=2)
