"""RadEdit in 3D Slicer: edit the chest film in the scene by a text and two masks."""

from __future__ import annotations

import os
import unittest

import slicer
from slicer.i18n import tr
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class RadEdit(ScriptedLoadableModule):
    """What Slicer's list of modules says."""

    def __init__(self, parent: object) -> None:
        super().__init__(parent)
        self.parent.title = tr("RadEdit")
        self.parent.categories = ["Testing", "Filtering"]
        self.parent.dependencies = ["Segmentations"]
        self.parent.contributors = ["the developers of RadEdit for hospitals"]
        self.parent.helpText = tr(
            "Edits a chest radiograph by a text and two masks on a RadEdit server, to see how "
            "another model fails. Results are synthetic: for research and QA, never for diagnosis."
        )
        self.parent.acknowledgementText = tr(
            "The method is RadEdit (Pérez-García et al., 2024, arXiv:2312.12865)."
        )


class RadEditWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's place in Slicer's window."""

    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.panel = None

    def setup(self) -> None:
        """Build the window."""
        super().setup()
        from RadEditLib.panel import make_panel

        self.panel = make_panel(self.layout)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._on_close)

    def cleanup(self) -> None:
        """Let go of the job and the scene."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()

    def _on_close(self, *_: object) -> None:
        if self.panel is not None:
            self.panel.close()


class RadEditTest(ScriptedLoadableModuleTest):
    """The unit tests under Testing/Python, run inside Slicer."""

    def runTest(self) -> None:
        """Run them; those that need a server say that they were skipped."""
        folder = os.path.join(os.path.dirname(__file__), "Testing", "Python")
        suite = unittest.defaultTestLoader.discover(folder, pattern="*Test.py")
        result = unittest.TextTestRunner(verbosity=2).run(suite)
        self.assertTrue(result.wasSuccessful())
