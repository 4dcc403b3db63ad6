"""Tasks of a MONAI Label server as sources of masks: our own, a MONAI bundle, and bad ones."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pydicom
import pytest
import torch
from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from numpy.typing import NDArray

from radedit.lib import lungs
from radedit.lib.app import RadEditApp
from radedit.lib.errors import NotFoundError, ParameterError, SourceError
from radedit.lib.infers.bundle import bundles
from radedit.lib.infers.lung_segmentation import LungSegmentation
from radedit.lib.infers.task_masks import mask_tasks
from radedit.lib.sources import FilmSources, embedded_lungs
from radedit_dicom.film import Film, read_film
from radedit_dicom.parsing import parse
from radedit_dicom.segment_reader import read_segmentation

# MONAI makes every reader that it knows, the one for a GPU's decoder included.
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")

APP = Path(__file__).resolve().parents[3] / "apps" / "radedit"
Mask = NDArray[np.bool_]

SIZE = [lungs.CONFIG["image_size"]] * 2
METADATA: dict[str, Any] = {
    "description": "Lung fields",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "num_channels": 1, "spatial_shape": SIZE}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "Left", "2": "Right"}}},
    },
}
INFERENCE: dict[str, Any] = {
    "device": "cuda:0",
    "side": 1955,
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": len(lungs.CONFIG["labels"]),
        "channels": lungs.CONFIG["channels"],
        "strides": lungs.CONFIG["strides"],
        "num_res_units": lungs.CONFIG["num_res_units"],
        "norm": "batch",
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "reader": "ITKReader"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {
                "_target_": "SpatialPadd",
                "keys": "image",
                "spatial_size": ["@side", "@side"],
                "mode": "minimum",
            },
            {
                "_target_": "Resized",
                "keys": "image",
                "spatial_size": SIZE,
                "mode": "area",
            },
            {
                "_target_": "ScaleIntensityRangePercentilesd",
                "keys": "image",
                "lower": 0.5,
                "upper": 99.5,
                "b_min": -1.0,
                "b_max": 1.0,
                "clip": True,
            },
        ],
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            # Logits of overlapping labels, the lungs first; the background has a logit of 0.
            {
                "_target_": "Lambdad",
                "keys": "pred",
                "func": "$lambda x: __import__('torch').cat([0 * x[:1], x[:2]])",
            },
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@bundle_root"},
        ],
    },
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the lung segmenter as a MONAI bundle: it sees x first, so its kernels turn too."""
    folder = tmp_path_factory.mktemp("bundles") / "lung_fields"
    network = lungs._network().state_dict()
    turned = {k: v.transpose(-1, -2).contiguous() if v.ndim == 4 else v for k, v in network.items()}
    write_bundle(folder, METADATA, INFERENCE)
    torch.save(turned, folder / "models" / "model.pt")
    return folder


def write_bundle(folder: Path, metadata: Any, inference: Any) -> None:
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    (folder / "models" / "model.pt").write_bytes(b"")


@pytest.fixture(scope="module")
def film(rg1: Path) -> Film:
    return read_film(rg1)


@pytest.fixture(scope="module")
def embedded(film: Film) -> dict[str, Mask]:
    return dict(embedded_lungs(film))


def dice(a: Mask, b: Mask) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_monai_bundle_gives_masks_on_the_films_own_grid(
    bundle: Path, film: Film, rg1: Path, embedded: dict[str, Mask]
) -> None:
    tasks = bundles(str(bundle), "cpu")
    assert tasks["lung_fields"].info()["labels"] == {"left": 1, "right": 2}
    sources = FilmSources(film, tasks=mask_tasks(tasks, rg1))
    found = {side: sources.mask("task", f"lung_fields:{side}") for side in ("left", "right")}
    for side, mask in found.items():
        assert mask.shape == film.shape
        # Not exactly: it is resampled, and stretched over the padding too.
        assert dice(mask, embedded[side]) > 0.9, side
        assert dice(mask[::-1], embedded[side]) < dice(mask, embedded[side]) - 0.05
    np.testing.assert_array_equal(
        sources.mask("task", "lung_fields"), found["left"] | found["right"]
    )
    assert {path.name for path in bundle.iterdir()} == {"configs", "models"}  # nothing is saved
    with pytest.raises(NotFoundError, match="its labels are left, right"):
        sources.mask("task", "lung_fields:heart")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "models" / "model.pt").unlink(), "lacks configs/"),
        (lambda f: (f / "configs" / "inference.json").unlink(), "lacks configs/"),
        (lambda f: (f / "configs" / "metadata.json").write_text("{}"), "network_data_format"),
        (lambda f: (f / "configs" / "metadata.json").write_text("no"), "network_data_format"),
        (
            lambda f: (f / "configs" / "metadata.json").write_text(
                json.dumps(METADATA).replace(json.dumps(SIZE), "[96, 96, 96]")
            ),
            "not made for images of one plane",
        ),
    ],
)
def test_what_is_no_bundle_for_films_is_refused_at_the_start(
    tmp_path: Path, damage: Callable[[Path], Any], says: str
) -> None:
    write_bundle(tmp_path / "broken", METADATA, INFERENCE)
    damage(tmp_path / "broken")
    with pytest.raises(ParameterError, match=says) as caught:
        bundles(str(tmp_path / "broken"), "cpu")
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ParameterError, match="lacks"):
        bundles(f"{tmp_path}/none", "cpu")


def test_a_bundle_that_fails_later_is_one_sentence(
    tmp_path: Path, film: Film, rg1: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_bundle(tmp_path / "empty_weights", METADATA, INFERENCE)
    tasks = mask_tasks(bundles(str(tmp_path / "empty_weights"), "cpu"), rg1)
    with pytest.raises(SourceError, match=r"task empty_weights failed on this film \(EOFError\)"):
        FilmSources(film, tasks=tasks).mask("task", "empty_weights:left")
    assert "EOFError in" in caplog.text


def test_our_own_task_read_back_from_its_file_is_the_embedded_segmenter(
    film: Film, rg1: Path, embedded: dict[str, Mask]
) -> None:
    offered = mask_tasks({"lungs": LungSegmentation(), "radedit": LungSegmentation()}, rg1)
    assert set(offered) == {"lungs", "heart_segmentation", "lung_segmentation"}
    found = offered["lungs"](film)
    np.testing.assert_array_equal(found["right"], embedded["right"])
    np.testing.assert_array_equal(found["left"], embedded["left"] & ~embedded["right"])


class Odd(InferTask):
    """A task that does what it is told with the film's path."""

    def __init__(self, act: Callable[[Any], Any], labels: Any = None) -> None:
        self.act = act
        super().__init__(InferType.SEGMENTATION, labels, 2, "odd", {"device": ["cpu", "cuda"]})

    def is_valid(self) -> bool:
        return True

    def __call__(self, request: Any) -> Any:
        return self.act(request)


def written(labels: NDArray[Any], suffix: str = ".nrrd") -> str:
    handle, path = tempfile.mkstemp(suffix=suffix)
    os.close(handle)
    itk.imwrite(itk.image_from_array(labels), path)
    return path


def fail(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda _: (None, {"prediction": []}), "gives no label image"),
        (lambda _: (np.zeros((24, 20)), {}), "gives no label image"),
        (lambda _: ("/nowhere/labels.nrrd", {}), "gives no label image"),
        (lambda _: (written(np.zeros((7, 5), np.uint8)), {}), "7 x 5 pixels and the film 24 x 20"),
        (lambda _: (written(np.ones((2, 24, 20), np.uint8)), {}), "not one grey image"),
        (lambda _: fail(HTTPException(404, "no clicks")), "refused this film: no clicks"),
        (lambda _: fail(KeyError("Geheim^Patient")), r"failed on this film \(KeyError\)"),
    ],
)
def test_what_a_task_does_wrong_is_said_in_one_sentence(
    make_dataset: Callable[..., Any],
    act: Callable[[Any], Any],
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    film = read_film(make_dataset())
    sources = FilmSources(film, tasks=mask_tasks({"odd": Odd(act)}, Path("film.dcm")))
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError, match=says) as caught:
        sources.mask("task", "odd")
    assert "Geheim" not in str(caught.value) + caplog.text


def test_a_task_is_asked_as_monai_label_asks_and_its_file_is_removed(
    make_dataset: Callable[..., Any],
) -> None:
    film = read_film(make_dataset())
    labels = np.zeros(film.shape, np.uint8)
    labels[3:8, 2:5], labels[10:12, 6:9] = 1, 2
    seen: list[dict[str, Any]] = []
    path = written(labels)

    def act(request: dict[str, Any]) -> Any:
        seen.append(request)
        return path, {"label_names": {"rib": 2}}

    sources = FilmSources(film, tasks=mask_tasks({"odd": Odd(act, ["a", "b"])}, Path("film.dcm")))
    np.testing.assert_array_equal(sources.mask("task", "odd:rib"), labels == 2)
    np.testing.assert_array_equal(sources.mask("task", "odd"), labels != 0)
    assert len(seen) == 1
    assert {"image": "film.dcm", "model": "odd", "device": "cpu"}.items() <= seen[0].items()
    assert not Path(path).exists()


def test_the_app_offers_a_bundle_as_a_task_and_as_a_mask(
    bundle: Path, rg1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monailabel.config.settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
    studies = tmp_path / "studies"
    studies.mkdir()
    shutil.copyfile(rg1, studies / "film.dcm")
    conf = {"models": "radedit", "bundles": str(bundle)}
    app = RadEditApp(str(APP), str(studies), conf)
    assert set(app.info()["models"]) == {"radedit", "lung_fields"}
    request = {"model": "radedit", "image": "film.dcm", "prompt": "right pneumothorax"}
    wanted = {"edit_mask": "task:lung_fields:right", "keep_mask": "task:lung_fields:left"}
    answer = app.infer({**request, **wanted, "steps": 4})
    assert answer is not None
    assert answer["params"]["score"]["changed_outside_support"] == 0
    labels = read_segmentation(
        parse(studies / "edited" / answer["params"]["seg"], pixels=True), read_film(rg1)
    )
    sources = FilmSources(read_film(rg1), tasks=mask_tasks(app._infers, rg1))
    left, right = (sources.mask("task", f"lung_fields:{side}") for side in ("left", "right"))
    np.testing.assert_array_equal(labels["edit mask"], right & ~left)
    np.testing.assert_array_equal(labels["keep mask"], left)
    with pytest.raises(HTTPException) as refused:
        app.infer({**request, "edit_mask": "task:radedit"})
    assert refused.value.status_code == 404
    assert (
        "known tasks are heart_segmentation, lung_fields, lung_segmentation" in refused.value.detail
    )


def test_neither_an_edit_nor_a_client_is_given_a_bundles_lungs_of_a_film_that_lies_turned(
    bundle: Path, rg1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monailabel.config.settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
    studies = tmp_path / "studies"
    studies.mkdir()
    turned = pydicom.dcmread(rg1)
    turned.PixelData = np.ascontiguousarray(turned.pixel_array[::-1, ::-1]).tobytes()
    turned.pop("PatientOrientation", None)
    turned.save_as(studies / "film.dcm")
    conf = {"models": "radedit,lung_segmentation", "bundles": str(bundle)}
    app = RadEditApp(str(APP), str(studies), conf)
    before = set(Path(tempfile.gettempdir()).glob("bundle-*"))
    request = {"model": "lung_fields", "image": "film.dcm"}
    edit = {"model": "radedit", "image": "film.dcm", "prompt": "right pneumothorax"}
    for asked in (
        request,
        {**request, "save_label": True},
        {**request, "model": "lung_segmentation"},
        {**edit, "edit_mask": "task:lung_fields:right"},
    ):
        with pytest.raises(HTTPException) as refused:
            app.infer(asked)
        assert refused.value.status_code == 422
        assert "lie upside down" in refused.value.detail
    assert set(Path(tempfile.gettempdir()).glob("bundle-*")) == before
    assert app.datastore().get_labels_by_image_id("film.dcm") == {}


def test_a_bundle_cannot_take_the_name_of_our_own_task(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "lung_segmentation")
    conf = {"models": "radedit", "bundles": str(tmp_path / "lung_segmentation")}
    with pytest.raises(SystemExit, match="named 'lung_segmentation' like our own task"):
        RadEditApp(str(APP), str(tmp_path), conf)
