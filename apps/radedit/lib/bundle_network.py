"""A MONAI bundle of the operator's, run on one film: a network in its own folder.

MONAI Label's own task for bundles cannot be imported here: it needs torchvision, which breaks
the libraries of the edit (see tests/test_lock.py). This one reads the same parts of a bundle
with MONAI: `preprocessing`, `network_def`, `inferer` and `postprocessing`.

Networks for one plane expect a picture, and MONAI reads a DICOM film as a volume of one slice;
so a bundle is given the film as a picture file of 16 bits, as it is displayed: white is dense.

A bundle is a program, its configuration may call anything: run only bundles you trust.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from radedit.lib.errors import ParameterError, SourceError
from radedit.lib.mask_files import label_numbers

logger = logging.getLogger(__name__)

CONFIGS: Final = ("inference.json", "inference.yaml")
WEIGHTS: Final = ("model.pt", "model.ts")
#: What metadata call an output that is no image.
NUMBERS: Final = frozenset({"probabilities", "classes", "classification", "labels"})
LEVELS: Final = 65535  # of the picture: white


class Bundle:
    """A bundle for images of one plane; its weights are read when they are first needed.

    Parameters
    ----------
    folder : the bundle, with configs/metadata.json, configs/inference.json (or .yaml) and
        models/model.pt (or model.ts)
    device : torch device that it runs on

    Raises
    ------
    ParameterError
        The folder holds no such bundle, or one that is not made for one plane.

    Attributes
    ----------
    name : of its folder
    labels : label to number in a label image; the background is none
    channels : number of a channel to its name, as the metadata has them
    segments : whether it gives a label image; otherwise numbers, one for each channel
    weights : its file of weights
    metadata : as configs/metadata.json has it
    """

    def __init__(self, folder: Path, device: str) -> None:
        self._folder, self._device = folder.resolve(), device
        self._running = threading.Lock()
        self._network: torch.nn.Module | None = None
        self._warned = False
        self.name = folder.name
        configs = [folder / "configs" / name for name in CONFIGS]
        weights = [folder / "models" / name for name in WEIGHTS]
        found = [next((p for p in paths if p.is_file()), None) for paths in (configs, weights)]
        if found[0] is None or found[1] is None:
            raise ParameterError(
                f"The bundle '{folder.name}' lacks configs/{' or '.join(CONFIGS)}, or "
                "models/model.pt or model.ts; name the folder of a whole MONAI bundle."
            )
        self._inference, self.weights = found[0], found[1]
        self.metadata = _metadata(folder)
        formats = self.metadata["network_data_format"]
        self._image_key, image = next(iter(formats["inputs"].items()))
        self._result_key, result = next(iter(formats["outputs"].items()))
        if len(image.get("spatial_shape", ())) != 2:
            raise ParameterError(
                f"The bundle '{folder.name}' is not made for images of one plane (spatial_shape "
                "in its metadata); films need one that is."
            )
        self.channels: dict[int, str] = {
            int(number): str(name) for number, name in result.get("channel_def", {}).items()
        }
        self.labels = _labels(result.get("channel_def", {}))
        self.segments = not {str(result.get("type")), str(result.get("format"))} & NUMBERS

    def label_image(
        self, display: NDArray[np.float32], spacing_mm: tuple[float, float] | None
    ) -> Any:
        """Segment a film.

        Parameters
        ----------
        display : float32 [rows, columns], 0 to 1, 1 = white
        spacing_mm : of rows and columns

        Returns
        -------
        MetaTensor [1, columns, rows] of label numbers, on the film's own grid

        Raises
        ------
        SourceError
            The bundle gives no label image.
        """
        from monai.transforms.compose import Compose
        from monai.transforms.post.dictionary import Invertd

        # One film at a time: the transforms and the configuration keep state.
        with self._running, _importing_from(self._folder), _picture(display, spacing_mm) as path:
            data, before, after = self._run(path)
            kept = [t for t in after.transforms if type(t).__name__ != "SaveImaged"]
            data = Compose(kept)(data)
            if not any(isinstance(t, Invertd) for t in kept):
                keys = {"keys": self._result_key, "orig_keys": self._image_key}
                data = Invertd(**keys, transform=before, nearest_interp=True)(data)
        labels = data[self._result_key]
        if labels.shape[0] != 1:
            raise SourceError(
                f"the bundle {self.name} gives {labels.shape[0]} channels; end its "
                "postprocessing with AsDiscreted so that it gives one of label numbers."
            )
        return labels

    def numbers(
        self, display: NDArray[np.float32], spacing_mm: tuple[float, float] | None
    ) -> dict[str, float]:
        """Classify a film; arguments as in `label_image`.

        Returns
        -------
        name of the channel to what the bundle's postprocessing gives for it

        Raises
        ------
        SourceError
            The bundle gives another number of values than it has channels.
        """
        with self._running, _importing_from(self._folder), _picture(display, spacing_mm) as path:
            data, _, after = self._run(path)
            values = torch.as_tensor(after(data)[self._result_key]).flatten().tolist()
        if len(values) != len(self.channels):
            raise SourceError(
                f"the bundle {self.name} gives {len(values)} numbers; expected one for each of "
                f"the {len(self.channels)} channels in its metadata."
            )
        return {self.channels[number]: float(value) for number, value in enumerate(values)}

    def _run(self, picture: Path) -> tuple[Any, Any, Any]:
        """Run the network; give the data, and the transforms before and behind it."""
        from monai.bundle.config_parser import ConfigParser
        from monai.inferers.inferer import SimpleInferer

        parser: Any = ConfigParser()
        parser.read_config(str(self._inference))
        parser.config |= {"bundle_root": str(self._folder), "device": self._device}

        def part(name: str) -> Any:
            return parser.get_parsed_content(name) if name in parser.config else None

        before, after = _compose(part("preprocessing")), _compose(part("postprocessing"))
        network = self._loaded(part("network_def"))
        data: Any = before({self._image_key: str(picture)})
        self._warn_of_shift(before, data[self._image_key])
        with torch.inference_mode():
            image = data[self._image_key][None].to(self._device)
            data[self._result_key] = (part("inferer") or SimpleInferer())(image, network)[0].cpu()
        return data, before, after

    def _warn_of_shift(self, before: Any, image: Any) -> None:
        """Say once how far a resize by "nearest" moves what the network sees."""
        film = getattr(image, "meta", {}).get("spatial_shape")
        if self._warned or film is None:
            return
        shift = nearest_shift_px(before, self._image_key, tuple(int(n) for n in film[:2]))
        if shift >= 1:
            self._warned = True
            logger.warning(
                "the bundle %s resizes films by 'nearest', which moves what it sees and draws by "
                "%.1f pixels of such a film; 'area' or 'nearest-exact' do not",
                self.name,
                shift,
            )

    def _loaded(self, network: Any) -> torch.nn.Module:
        """Give the network with its weights, which are read once."""
        if self._network is None:
            if self.weights.suffix == ".ts":
                network = torch.jit.load(str(self.weights), map_location=self._device)  # type: ignore[no-untyped-call]
            else:
                saved = torch.load(self.weights, map_location="cpu", weights_only=True)
                network.load_state_dict(saved.get("model", saved))
            self._network = network.to(self._device).eval()
        return self._network


def nearest_shift_px(before: Any, key: str, shape: tuple[int, ...]) -> float:
    """Measure how far resizing by "nearest" moves an image.

    Its cells take the pixel at their edge instead of the one at their middle, so that all of the
    image moves by half a cell. A ramp of pixel numbers is sent through each such transform.

    Parameters
    ----------
    before : MONAI's Compose of the preprocessing
    key : of the image in its dictionaries
    shape : of the image before it

    Returns
    -------
    float
        The distance, in pixels of the image and in the mean over the cells of its worse axis,
        between what a cell of the resized image shows and where it lies; 0 where nothing is
        resized by "nearest".
    """
    worst = 0.0
    for transform in before.flatten().transforms:
        resizer = getattr(transform, "resizer", None)
        keys, modes = getattr(transform, "keys", ()), getattr(transform, "mode", ())
        mode = dict(zip(keys, modes, strict=False)).get(key)
        if resizer is None or str(mode) != "nearest":
            continue
        for axis in range(len(shape)):
            along = [1] * (len(shape) + 1)
            along[axis + 1] = shape[axis]
            ramp = torch.arange(shape[axis], dtype=torch.float32).reshape(along)
            found = resizer(ramp.expand(1, *shape).contiguous(), mode="nearest")
            line = torch.as_tensor(found).movedim(axis + 1, 0).flatten(1)[:, 0]
            cell = shape[axis] / len(line)
            middles = (torch.arange(len(line)) + 0.5) * cell - 0.5
            worst = max(worst, abs(float((line - middles).mean())))
    return worst


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


@contextmanager
def _picture(
    display: NDArray[np.float32], spacing_mm: tuple[float, float] | None
) -> Iterator[Path]:
    """Write a film as it is displayed, 0 to 65535, for as long as the block runs."""
    import itk

    image = itk.image_from_array(np.rint(display * LEVELS).astype(np.uint16))
    if spacing_mm is not None:
        image.SetSpacing(spacing_mm[::-1])
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
