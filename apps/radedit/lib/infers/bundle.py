"""A MONAI bundle of the operator's as a task: a segmentation network in its own folder.

How a bundle is run is in `radedit.lib.bundle_network`; this makes a task of MONAI Label of it.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from radedit.lib.bundle_network import Bundle
from radedit.lib.errors import ParameterError
from radedit.lib.infers.request import film_path, refuse_unknown, text
from radedit_dicom.pixels import read_film, to_display

EXTENSIONS: Final = (".nrrd", ".nii.gz", ".nii")
logger = logging.getLogger(__name__)


class MonaiBundle(InferTask):
    """Segment one film with a MONAI bundle; the answer lies on the film's own grid.

    Parameters
    ----------
    folder, device : as for `Bundle`

    Raises
    ------
    ParameterError
        The folder holds no such bundle, or one that is not made for one plane.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._bundle = Bundle(folder, device)
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=self._bundle.labels,
            dimension=2,
            description=str(self._bundle.metadata.get("description", "")),
            config={"result_extension": list(EXTENSIONS)},
        )

    def is_valid(self) -> bool:
        """Say whether the task can be offered."""
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment one film.

        Parameters
        ----------
        request : `image`, the film's path, and optionally `result_extension`

        Returns
        -------
        path of the label image (the caller removes it), and its labels and the time taken

        Raises
        ------
        RadEditError
            The request is refused, or the bundle gives no label image.
        """
        started = time.perf_counter()
        refuse_unknown(request, ("result_extension",))
        extension = text(request, "result_extension") or EXTENSIONS[0]
        if extension not in EXTENSIONS:
            raise ParameterError(
                f"result_extension is {extension}; expected one of {', '.join(EXTENSIONS)}."
            )
        film = read_film(film_path(request))
        labels = self._bundle.label_image(to_display(film), film.spacing_mm)
        seconds = round(time.perf_counter() - started, 3)
        logger.info("bundle %s took %.3f s", self._bundle.name, seconds)
        return str(_written(labels, extension)), {
            "label_names": self.labels,
            "seconds": {"total": seconds},
        }


def bundles(named: str, device: str) -> dict[str, InferTask]:
    """Make the tasks of `--conf bundles FOLDER[,FOLDER]`, named like their folders.

    Raises
    ------
    ParameterError
        A folder holds no bundle, or two of them have one name.
    """
    folders = [Path(name.strip()).expanduser() for name in named.split(",") if name.strip()]
    tasks: dict[str, InferTask] = {}
    for folder in folders:
        if folder.name in tasks:
            raise ParameterError(f"Two bundles are named '{folder.name}'; rename one folder.")
        tasks[folder.name] = MonaiBundle(folder, device)
    return tasks


def _written(labels: Any, extension: str) -> Path:
    """Write a label image with the directions that its film was read with."""
    from monai.data.image_writer import ITKWriter

    handle, name = tempfile.mkstemp(prefix="bundle-", suffix=extension)
    os.close(handle)
    writer = ITKWriter(output_dtype="uint8")
    writer.set_data_array(labels, channel_dim=0, squeeze_end_dims=True)
    writer.set_metadata({"affine": labels.affine}, resample=False)
    writer.write(name)
    return Path(name)
