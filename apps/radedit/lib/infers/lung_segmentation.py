"""The MONAI Label task `lung_segmentation`: the lung fields of one film as a label image."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from numpy.typing import NDArray
from PIL import Image

from radedit.lib.errors import ParameterError
from radedit.lib.infers.request import film_path, refuse_unknown, text
from radedit.lib.sources import embedded_lungs
from radedit_dicom.pixels import Film, read_film

LABELS: Final = {"left": 1, "right": 2}
EXTENSIONS: Final = (".png", ".nii.gz", ".nii", ".nrrd")
logger = logging.getLogger(__name__)


class LungSegmentation(InferTask):
    """Label image of the film's own size: 0 = neither, 1 = left lung, 2 = right lung.

    Left and right are the patient's. Where the two overlap the right one is written.
    """

    def __init__(self) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=dict(LABELS),
            dimension=2,
            description="Left and right lung field of a frontal chest radiograph",
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
        path of the label image (the caller removes it), and its labels, size and time taken

        Raises
        ------
        RadEditError, DicomError
            The film or the request is refused.
        """
        started = time.perf_counter()
        refuse_unknown(request, ("result_extension",))
        extension = text(request, "result_extension") or EXTENSIONS[0]
        if extension not in EXTENSIONS:
            raise ParameterError(
                f"result_extension is {extension}; expected one of {', '.join(EXTENSIONS)}."
            )
        film = read_film(film_path(request))
        lungs = embedded_lungs(film)
        labels = np.zeros(film.shape, np.uint8)
        for name, value in LABELS.items():
            labels[lungs[name]] = value
        result = write_labels(labels, film, extension)
        seconds = round(time.perf_counter() - started, 3)
        logger.info("lung_segmentation of %s took %.3f s", film.sop_instance_uid, seconds)
        return str(result), {
            "label_names": LABELS,
            "pixels": {name: int((labels == value).sum()) for name, value in LABELS.items()},
            "source_sop_instance_uid": film.sop_instance_uid,
            "seconds": {"total": seconds},
        }


def write_labels(labels: NDArray[np.uint8], film: Film, extension: str) -> Path:
    """Write a label image to a new temporary file.

    Parameters
    ----------
    labels : uint8 [rows, cols]
    film : its pixel spacing goes into formats that have one
    extension : one of `EXTENSIONS`
    """
    handle, name = tempfile.mkstemp(prefix="lungs-", suffix=extension)
    os.close(handle)
    if extension == ".png":
        Image.fromarray(labels).save(name)
    else:
        import itk

        image = itk.image_from_array(labels)
        if film.spacing_mm is not None:
            rows_mm, cols_mm = film.spacing_mm
            image.SetSpacing([cols_mm, rows_mm])
        itk.imwrite(image, name, compression=True)
    return Path(name)
