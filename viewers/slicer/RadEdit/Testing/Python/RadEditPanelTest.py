"""The window with stand-ins for Qt's widgets, made from the .ui file; no server."""

from __future__ import annotations

import importlib
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as Slicer's module paths do

import slicer
import slicer.util
import stub_qt  # before the panel, which imports qt
from RadEditLib import panel as panel_module
from RadEditLib.client import Client, Job
from RadEditLib.logic import Logic
from RadEditLib.panel import Panel
from RadEditLib.views import side_by_side

OPTIONS = {
    "parameters": {
        "method": {"default": "radedit", "choices": ["radedit", "diffedit"], "help": "algorithm"},
        "support": {"default": "band", "choices": ["band", "free"], "help": "rim"},
        "steps": {"default": 100, "minimum": 1, "maximum": 1000, "help": "steps"},
        "skip": {"default": 0.3, "minimum": 0.0, "maximum": 1.0, "help": "skip"},
        "guidance": {"default": 7.5, "minimum": 0.0, "maximum": 30.0, "help": "weight"},
        "seed": {"default": 0, "minimum": 0, "maximum": 2**63 - 1, "help": "seed"},
        "band_px": {"default": 32, "minimum": 0, "maximum": 512, "help": "not in this window"},
    },
    "models": ["phantom"],
    "mask_tasks": [{"name": "lung_segmentation", "labels": ["left", "right lung"]}],
    "prompts": [{"text": "No pneumothorax", "group": "removal"}],
}


class PanelTest(unittest.TestCase):
    """What a user sees before and after a server answered."""

    def setUp(self) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.settings = stub_qt.Settings()
        self.ui = stub_qt.load_ui()
        self.panel = Panel(self.ui, self.scene, self.settings)

    def test_nothing_can_be_run_before_a_server_is_connected(self) -> None:
        self.assertFalse(self.ui.runButton.enabled)
        self.assertFalse(self.ui.cancelButton.enabled)
        self.assertEqual(self.ui.message.text, "Connect to a server first.")

    def test_a_server_that_is_not_there_is_said_in_the_window(self) -> None:
        self.ui.server.setText("http://127.0.0.1:1")
        self.ui.connectButton.click()
        self.assertRegex(self.ui.message.text, "^The server cannot be reached")
        self.assertFalse(self.ui.runButton.enabled)
        self.assertNotIn("RadEdit/server", self.settings)

    def test_every_number_takes_the_servers_range_and_default(self) -> None:
        self.panel._offer(OPTIONS)
        self.assertEqual((self.ui.steps.minimum, self.ui.steps.maximum), (1, 1000))
        self.assertEqual(self.ui.steps.value, 100)
        self.assertEqual(self.ui.seed.maximum, 2**31 - 1)
        self.assertEqual(self.ui.guidance.toolTip, "weight")
        self.assertEqual(
            dict(self.panel.parameter().numbers),
            {
                "method": "radedit",
                "support": "band",
                "steps": 100,
                "skip": 0.3,
                "guidance": 7.5,
                "seed": 0,
            },
        )

    def test_masks_can_be_drawn_or_found_by_any_task_of_the_server(self) -> None:
        self.panel._offer(OPTIONS)
        tasks = [
            "task:lung_segmentation",
            "task:lung_segmentation:left",
            'task:"lung_segmentation:right lung"',
        ]
        self.assertEqual(self.ui.editMask.items, ["drawn segments", *tasks])
        self.assertEqual(self.ui.keepMask.items, ["none", "drawn segments", *tasks])
        self.ui.editMask.setCurrentText("task:lung_segmentation:left")
        parameter = self.panel.parameter()
        self.assertEqual(parameter.edit_mask, "task:lung_segmentation:left")
        self.assertEqual(parameter.keep_mask, "")

    def test_the_servers_own_model_is_meant_until_another_is_chosen(self) -> None:
        self.panel._offer(OPTIONS)
        self.assertEqual(self.panel.parameter().edit_model, "")
        self.ui.model.setCurrentText("phantom")
        self.assertEqual(self.panel.parameter().edit_model, "phantom")

    def test_the_choices_of_the_last_session_come_back(self) -> None:
        self.panel._offer(OPTIONS)
        self.ui.steps.setValue(12)
        self.ui.method.setCurrentText("diffedit")
        self.ui.support.setCurrentText("free")
        self.ui.model.setCurrentText("phantom")
        self.ui.sameStudy.setChecked(True)
        chosen = self.panel.parameter()
        chosen.remember(self.settings)
        self.ui = stub_qt.load_ui()
        Panel(self.ui, self.scene, self.settings)._offer(OPTIONS)
        found = (self.ui.steps.value, self.ui.method.currentText, self.ui.support.currentText)
        self.assertEqual(found, (12, "diffedit", "free"))
        self.assertEqual(self.ui.model.currentText, "phantom")
        self.assertTrue(self.ui.sameStudy.checked)

    def test_a_choice_that_this_server_does_not_have_is_its_own_default(self) -> None:
        kept = {"numbers/method": "another", "numbers/steps": "many", "edit_model": "gone"}
        self.settings.update({f"RadEdit/{name}": value for name, value in kept.items()})
        self.panel._offer(OPTIONS)
        self.assertEqual((self.ui.method.currentText, self.ui.steps.value), ("radedit", 100))
        self.assertEqual(self.panel.parameter().edit_model, "")

    def test_another_server_is_not_connected_to_while_an_edit_runs(self) -> None:
        self.panel._running(True)
        self.assertFalse(self.ui.connectButton.enabled)
        self.panel.close()
        self.assertTrue(self.ui.connectButton.enabled)

    def test_a_job_that_was_running_is_let_go_when_the_scene_closes(self) -> None:
        self.panel.job = Job("1", "running", 1, 9, "editing", "", {})
        self.panel._timer.start()
        self.panel.close()
        self.assertFalse(self.panel._timer.active)
        self.assertIsNone(self.panel.job)
        self.panel.on_timer()  # one that Qt had queued already
        self.assertEqual(self.ui.message.text, "Connect to a server first.")

    def test_a_job_of_a_server_that_went_away_can_be_given_up(self) -> None:
        self.panel.logic = Logic(self.scene, Client("http://127.0.0.1:1"))
        self.panel.job = Job("1", "running", 1, 9, "editing", "", {})
        self.panel._running(True)
        self.panel.on_timer()
        self.assertRegex(self.ui.message.text, "cannot be reached .* asked after again")
        self.assertIsNotNone(self.panel.job)
        self.ui.cancelButton.click()
        self.assertRegex(self.ui.message.text, "cannot be reached .* may go on there")
        self.assertTrue(self.ui.runButton.enabled)
        self.assertIsNone(self.panel.job)

    def test_the_ui_file_is_where_the_window_looks_for_it(self) -> None:
        self.assertEqual(Path(panel_module.resource("UI/RadEdit.ui")), stub_qt.UI)
        self.assertTrue(Path(panel_module.resource("Icons/RadEdit.png")).is_file())


@unittest.skipIf(hasattr(slicer, "app"), "inside Slicer the module itself is what is running")
class ModuleTest(unittest.TestCase):
    """The module's own file, with stand-ins for the bases that Slicer gives it."""

    def setUp(self) -> None:
        slicer.mrmlScene, slicer.app = slicer.vtkMRMLScene(), LayoutManager()
        ui, made = stub_qt.load_ui(), []
        window = SimpleNamespace(setMRMLScene=made.append)
        self.shown: list[object] = []
        self.layout = SimpleNamespace(addWidget=self.shown.append)
        with_ui = mock.patch.multiple(
            slicer.util, loadUI=lambda path: window, childWidgetVariables=lambda _: ui
        )
        with_ui.start()
        self.addCleanup(with_ui.stop)
        self.addCleanup(delattr, slicer, "app")
        self.addCleanup(delattr, slicer, "mrmlScene")
        self.made, self.window = made, window

    def test_the_module_says_what_it_is_for(self) -> None:
        module = importlib.import_module("RadEdit")
        parent = SimpleNamespace()
        module.RadEdit(parent)
        self.assertIn("never for diagnosis", parent.helpText)
        self.assertEqual(parent.dependencies, ["Segmentations"])

    def test_the_window_is_built_into_slicers_and_let_go_with_the_scene(self) -> None:
        widget = importlib.import_module("RadEdit").RadEditWidget(self.layout)
        widget.setup()
        self.assertEqual(self.shown, [self.window])
        self.assertEqual(self.made, [slicer.mrmlScene])
        widget.panel.job = Job("1", "running", 1, 9, "editing", "", {})
        slicer.mrmlScene.Clear()
        self.assertIsNone(widget.panel.job)
        widget.cleanup()


class LayoutManager:
    """Stands for qSlicerLayoutManager, and the application that has it: Qt objects."""

    def __init__(self) -> None:
        self.layout: int | None = None
        self.fitted: list[str] = []

    def setLayout(self, layout: int) -> None:
        self.layout = layout

    def sliceWidget(self, name: str) -> LayoutManager:
        self._asked = name
        return self

    def sliceLogic(self) -> LayoutManager:
        return self

    def layoutManager(self) -> LayoutManager:
        return self

    def FitSliceToAll(self) -> None:
        self.fitted.append(self._asked)


class ViewsTest(unittest.TestCase):
    """Real slice nodes; the layout manager alone is a stand-in."""

    def test_original_and_edit_are_shown_linked_side_by_side(self) -> None:
        scene, manager = slicer.vtkMRMLScene(), LayoutManager()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        volumes = [slicer.vtkMRMLScalarVolumeNode() for _ in range(2)]
        for volume in volumes:
            scene.AddNode(volume)
        for name in ("Red", "Yellow"):
            for kind in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
                node = scene.CreateNodeByClass(kind)  # with the orientations of the scene
                node.SetSingletonTag(name)
                scene.AddNode(node)
        side_by_side(scene, manager, *volumes)
        self.assertEqual(manager.layout, slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
        self.assertEqual(manager.fitted, ["Red", "Yellow"])
        for name, volume in zip(("Red", "Yellow"), volumes, strict=True):
            composite = scene.GetNodeByID(f"vtkMRMLSliceCompositeNode{name}")
            self.assertEqual(composite.GetBackgroundVolumeID(), volume.GetID())
            self.assertTrue(composite.GetLinkedControl())
            slice_node = scene.GetNodeByID(f"vtkMRMLSliceNode{name}")
            self.assertEqual(slice_node.GetOrientation(), "Axial")


if __name__ == "__main__":
    unittest.main()
