"""The original on the left, the edit on the right, moved together."""

from __future__ import annotations

from typing import Any

import slicer

LEFT, RIGHT = "Red", "Yellow"  # Slicer's names of the two views of this layout


def side_by_side(
    scene: slicer.vtkMRMLScene,
    layout_manager: Any,
    original: slicer.vtkMRMLScalarVolumeNode,
    edited: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Show two films beside each other with linked pan and zoom.

    Parameters
    ----------
    scene : vtkMRMLScene
    layout_manager : qSlicerLayoutManager
    original, edited : on the same grid
    """
    layout_manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
    for name, volume in ((LEFT, original), (RIGHT, edited)):
        composite = scene.GetNodeByID(f"vtkMRMLSliceCompositeNode{name}")
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLinkedControl(True)
        # A film lies in the plane of Slicer's axial slices; the right view is sagittal at first.
        scene.GetNodeByID(f"vtkMRMLSliceNode{name}").SetOrientationToAxial()
        layout_manager.sliceWidget(name).sliceLogic().FitSliceToAll()
