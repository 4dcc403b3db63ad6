"""The MONAI Label task `lung_segmentation`: the lung fields of one film as a label image."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from radedit.lib.errors import ParameterError
from radedit.lib.infers.request import film_path, refuse_unknown, text
from radedit.lib.label_files import label_image, write_labels
from radedit.lib.sources import embedded_lungs
from radedit_dicom.film import read_film

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
        labels = label_image({name: lungs[name] for name in LABELS}, film)
        result = write_labels(labels, film, extension)
        seconds = round(time.perf_counter() - started, 3)
        logger.info("lung_segmentation took %.3f s", seconds)
        return str(result), {
            "label_names": LABELS,
            "pixels": {name: int((labels == value).sum()) for name, value in LABELS.items()},
            "source_sop_instance_uid": film.sop_instance_uid,
            "seconds": {"total": seconds},
        }
