"""Let MONAI Label 0.8.5 import beside pydicom 3.

MONAI Label's newest release imports pydicom_seg when its server module loads. pydicom_seg in
turn takes one name, ``SegmentationStorage``, from ``pydicom._storage_sopclass_uids``, a private
module that pydicom 3 no longer has; the name itself is public, in ``pydicom.uid``. Nothing of
ours calls pydicom_seg: it only has to import.

The import happens before MONAI Label looks at any app, so an app cannot help from its own
``main.py``. ``monailabel start_server`` does import torch first, and torch calls the entry
points of the group ``torch.backends`` as it is imported: that is where this distribution
registers `supply_missing_names` (see pyproject.toml). Setting
``TORCH_DEVICE_BACKEND_AUTOLOAD=0`` switches torch's entry points, and so this, off.

The finder below is asked last, after every real place for a module. A pydicom that has the
module (2.x) is therefore never overruled, and without MONAI Label nobody asks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MISSING_MODULE = "pydicom._storage_sopclass_uids"


class _StorageUidLoader(Loader):
    """Fill the module with the one name, taken from its public home."""

    def exec_module(self, module: ModuleType) -> None:
        from pydicom.uid import SegmentationStorage

        module.__dict__["SegmentationStorage"] = SegmentationStorage


class _LastResortFinder(MetaPathFinder):
    """Answer for `MISSING_MODULE` and for nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != MISSING_MODULE:
            return None
        return ModuleSpec(fullname, _StorageUidLoader(), origin=__name__)


def supply_missing_names() -> None:
    """Append the finder to `sys.meta_path`, once; imports nothing by itself."""
    if not any(isinstance(finder, _LastResortFinder) for finder in sys.meta_path):
        sys.meta_path.append(_LastResortFinder())
