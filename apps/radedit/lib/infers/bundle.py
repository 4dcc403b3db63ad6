"""A MONAI bundle of the operator's as a task: a segmentation network in its own folder.

MONAI Label's own task for bundles cannot be imported here: it needs torchvision, which breaks
the libraries of the edit (see tests/test_lock.py). This one reads the same parts of a bundle
with MONAI: `preprocessing`, `network_def`, `inferer` and `postprocessing`.

Networks for one plane expect a picture, and MONAI reads a DICOM film as a volume of one slice;
so a bundle is given the film as a picture file of 16 bits, as it is displayed: white is dense.

A bundle is a program, its configuration may call anything: serve only bundles you trust.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from radedit.lib.errors import ParameterError, SourceError
from radedit.lib.infers.request import film_path, refuse_unknown, text
from radedit.lib.mask_files import label_numbers
from radedit_dicom.film import Film
from radedit_dicom.pixels import read_film, to_display

CONFIGS: Final = ("inference.json", "inference.yaml")
EXTENSIONS: Final = (".nrrd", ".nii.gz", ".nii")
logger = logging.getLogger(__name__)


class MonaiBundle(InferTask):
    """Segment one film with a MONAI bundle; the answer lies on the film's own grid.

    Parameters
    ----------
    folder : the bundle, with configs/metadata.json, configs/inference.json (or .yaml) and
        models/model.pt (or model.ts)
    device : torch device that it runs on

    Raises
    ------
    ParameterError
        The folder holds no such bundle, or one that is not made for one plane.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._folder, self._device = folder.resolve(), device
        self._loading = threading.Lock()
        self._network: torch.nn.Module | None = None
        configs = [folder / "configs" / name for name in CONFIGS]
        weights = [folder / "models" / name for name in ("model.pt", "model.ts")]
        found = [next((p for p in paths if p.is_file()), None) for paths in (configs, weights)]
        if found[0] is None or found[1] is None:
            raise ParameterError(
                f"The bundle '{folder.name}' lacks configs/{' or '.join(CONFIGS)}, or "
                "models/model.pt or model.ts; name the folder of a whole MONAI bundle."
            )
        self._inference, self._weights = found[0], found[1]
        metadata = _metadata(folder)
        formats = metadata["network_data_format"]
        self._image_key, image = next(iter(formats["inputs"].items()))
        self._result_key, result = next(iter(formats["outputs"].items()))
        if len(image.get("spatial_shape", ())) != 2:
            raise ParameterError(
                f"The bundle '{folder.name}' is not made for images of one plane (spatial_shape "
                "in its metadata); films need one that is."
            )
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=_labels(result.get("channel_def", {})),
            dimension=2,
            description=str(metadata.get("description", "")),
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
        # One film at a time: the transforms and the configuration keep state.
        film = read_film(film_path(request))
        with self._loading, _importing_from(self._folder), _picture(film) as picture:
            labels = self._segmented(picture)
        seconds = round(time.perf_counter() - started, 3)
        logger.info("bundle %s took %.3f s", self._folder.name, seconds)
        return str(_written(labels, extension)), {
            "label_names": self.labels,
            "seconds": {"total": seconds},
        }

    def _segmented(self, picture: Path) -> Any:
        """Run the bundle; a MetaTensor [1, x, y] of label numbers."""
        from monai.bundle.config_parser import ConfigParser
        from monai.inferers.inferer import SimpleInferer
        from monai.transforms.compose import Compose
        from monai.transforms.post.dictionary import Invertd

        parser: Any = ConfigParser()
        parser.read_config(str(self._inference))
        parser.config |= {"bundle_root": str(self._folder), "device": self._device}

        def part(name: str) -> Any:
            return parser.get_parsed_content(name) if name in parser.config else None

        before, after = _compose(part("preprocessing")), _compose(part("postprocessing"))
        network = self._loaded(part("network_def"))
        data: Any = before({self._image_key: str(picture)})
        with torch.inference_mode():
            image = data[self._image_key][None].to(self._device)
            data[self._result_key] = (part("inferer") or SimpleInferer())(image, network)[0].cpu()
        kept = [t for t in after.transforms if type(t).__name__ != "SaveImaged"]
        data = Compose(kept)(data)
        if not any(isinstance(t, Invertd) for t in kept):
            keys = {"keys": self._result_key, "orig_keys": self._image_key}
            data = Invertd(**keys, transform=before, nearest_interp=True)(data)
        labels = data[self._result_key]
        if labels.shape[0] != 1:
            raise SourceError(
                f"the bundle {self._folder.name} gives {labels.shape[0]} channels; end its "
                "postprocessing with AsDiscreted so that it gives one of label numbers."
            )
        return labels

    def _loaded(self, network: Any) -> torch.nn.Module:
        """Give the network with its weights, which are read once."""
        if self._network is None:
            if self._weights.suffix == ".ts":
                network = torch.jit.load(str(self._weights), map_location=self._device)  # type: ignore[no-untyped-call]
            else:
                saved = torch.load(self._weights, map_location="cpu", weights_only=True)
                network.load_state_dict(saved.get("model", saved))
            self._network = network.to(self._device).eval()
        return self._network


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


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        if found["network_data_format"]["inputs"] and found["network_data_format"]["outputs"]:
            return dict(found)
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise ParameterError(
        f"The bundle '{folder.name}' has no configs/metadata.json that describes its inputs and "
        "outputs (network_data_format); give it one."
    )


def _labels(channels: Mapping[str, str]) -> dict[str, int]:
    """Give label to number; a lone channel 0 is what is not background, and becomes 1."""
    named = {name: int(number) for number, name in channels.items()}
    if list(named.values()) == [0]:
        named = dict.fromkeys(named, 1)
    return label_numbers({name.lower(): number for name, number in named.items()})


def _compose(transforms: Any) -> Any:
    from monai.transforms.compose import Compose

    return transforms if isinstance(transforms, Compose) else Compose(transforms or [])


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


@contextmanager
def _picture(film: Film) -> Iterator[Path]:
    """Write a film as it is displayed, 0 to 65535, for as long as the block runs."""
    import itk

    image = itk.image_from_array(np.rint(to_display(film) * 65535).astype(np.uint16))
    if film.spacing_mm is not None:
        image.SetSpacing(film.spacing_mm[::-1])
    with tempfile.TemporaryDirectory(prefix="radedit-bundle-") as folder:
        path = Path(folder) / "film.nrrd"
        itk.imwrite(image, str(path))
        yield path


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let a bundle find the modules of its own folder, and forget them for the next bundle."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
            del sys.modules[name]
