"""Small films as real devices write them: each departs from the standard in one thing.

Made from nothing. `FILMS` says what becomes of each: None = it is edited, else the sentence with
which it is refused.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)

_ANIMAL = (
    "{} says that the patient is an animal, but only films of people are edited; choose a chest "
    "film of a person."
)
_OTHER_VIEW = (
    "{} names a lateral, oblique, decubitus or other view, but a frontal one (AP or PA) is needed; "
    "choose the frontal film."
)
_MENU = "AcquisitionDeviceProcessingDescription"

_EQUUS = Dataset()
_EQUUS.CodeValue, _EQUUS.CodingSchemeDesignator = "388445009", "SCT"
_EQUUS.CodeMeaning = "Equus caballus"

#: Name to the attributes that differ from a sound film's, and what it is refused with.
HEADERS: Final[dict[str, tuple[dict[str, Any], str | None]]] = {
    "animal-species": (
        {
            "PatientSpeciesDescription": "Equine",
            "SeriesDescription": "Thorax LAT",
            "ViewPosition": "AP",
            "PatientOrientation": ["L", "F"],
        },
        _ANIMAL.format("PatientSpeciesDescription"),
    ),
    "animal-species-code": (
        {"PatientSpeciesCodeSequence": Sequence([_EQUUS])},
        _ANIMAL.format("PatientSpeciesCodeSequence"),
    ),
    "animal-menu": (
        {
            "ViewPosition": "",
            "PatientOrientation": ["L", "F"],
            "BodyPartExamined": "THORAX",
            _MENU: "EQUINE THORAX LATERAL",
        },
        _ANIMAL.format(_MENU),
    ),
    "lateral-in-series": (
        {"SeriesDescription": "Thorax LAT"},
        _OTHER_VIEW.format("SeriesDescription"),
    ),
    "lateral-in-menu": ({_MENU: "CHEST LATERAL"}, _OTHER_VIEW.format(_MENU)),
    **{
        f"view-{view}": ({"ViewPosition": view}, _OTHER_VIEW.format("ViewPosition"))
        for view in ("AP LLD", "PA RLD", "PA RAO", "AP LPO")
    },
    "window-over-unused-values": (
        {"BitsStored": 12, "HighBit": 11, "WindowCenter": 3000, "WindowWidth": 500},
        "The film's window or look-up table shows its pixels in one grey, so that nothing could be "
        "seen of an edit; have the window corrected.",
    ),
    **{
        f"part-{part}": ({"BodyPartExamined": part}, None)
        for part in ("THORAX", "TORAX", "LUNG", "CHEST PA")
    },
    "view-in-menu": ({"ViewPosition": "", _MENU: "THORAX,FRONTAL P->A"}, None),
    **{
        f"view-{view}": ({"ViewPosition": view}, None)
        for view in ("P-A", "P.A.", "POSTERO-ANTERIOR")
    },
    "view-UNK": (
        {"ViewPosition": "UNK"},
        "Neither ViewPosition, ViewCodeSequence, PatientOrientation nor a description says in "
        "words that are known that the film is frontal; set ViewPosition to AP or PA if it is, or "
        "add the site's word for it to 'frontal' in [words] of the settings.",
    ),
    "aspect": ({"PixelAspectRatio": [2, 1]}, None),
    "uid-leading-zero": ({"StudyInstanceUID": "1.2.392.200036.9125.02.0104484"}, None),
    "samples-missing": ({"SamplesPerPixel": None}, None),
}
FILMS: Final[dict[str, str | None]] = {
    **{name: sentence for name, (_, sentence) in HEADERS.items()},
    "jpeg-extended-sos": None,
    "j2k-late-comment": None,
    "no-preamble": (
        "The file holds DICOM elements without the preamble in front, which a DICOM file begins "
        "with (PS3.10 7.1); have it exported as a DICOM file."
    ),
    "pixels-longer": None,
}


def sound_film(**attributes: Any) -> Dataset:
    """Make a film that nothing is wrong with, save what the attributes say; None = absent."""
    yy, xx = np.mgrid[:256, :256]
    values = (300 + 2 * yy + 60 * np.sin(xx / 20)).astype("<u2")  # 10 bits
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.Modality = ComputedRadiographyImageStorage, "CR"
    for level in ("SOP", "Study", "Series"):
        setattr(made, f"{level}InstanceUID", generate_uid())
    made.StudyDate, made.StudyTime, made.StudyID = "20260101", "120000", "1"
    made.SeriesNumber = made.InstanceNumber = 1
    made.PatientID = made.PatientName = f"QA-{made.SOPInstanceUID[-8:]}"
    made.BodyPartExamined, made.ViewPosition = "CHEST", "PA"
    made.Rows, made.Columns = values.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 10, 9, 0
    made.WindowCenter, made.WindowWidth = 512, 1024
    made.PixelData = values.tobytes()
    with config.disable_value_validation():
        for keyword, value in attributes.items():
            made.pop(keyword, None)  # it would go on being validated
            if value is not None:
                setattr(made, keyword, value)
    return made


def write(film: Dataset, path: Path) -> Path:
    """Write a film as a DICOM file."""
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    with config.disable_value_validation():
        film.save_as(path, enforce_file_format=True)
    return path


def jpeg_extended(film: Dataset, folder: Path, dcmcjpeg: str) -> Dataset:
    """Compress a film by dcmtk as JPEG Extended, 12 bits."""
    import pydicom

    plain, packed = write(film, folder / "plain"), folder / "packed"
    subprocess.run([dcmcjpeg, "+ee", plain, packed], check=True)
    made = pydicom.dcmread(packed)
    plain.unlink()
    packed.unlink()
    return made


def with_scan_to_0(film: Dataset) -> Dataset:
    """Let the scan of a JPEG say that it ends with coefficient 0, as NEMA's own samples do."""
    frame = bytearray(next(generate_frames(film.PixelData, number_of_frames=1)))
    at = frame.rindex(b"\xff\xda\x00\x08\x01") + 7
    assert frame[at : at + 3] == b"\x00\x3f\x00"
    frame[at + 1] = 0
    film.PixelData = encapsulate([bytes(frame)])
    return film


def with_late_comment(film: Dataset) -> Dataset:
    """Compress a film as JPEG 2000 with a comment between its last tile-part and its end."""
    film.compress(JPEG2000Lossless, generate_instance_uid=False)
    frame = next(generate_frames(film.PixelData, number_of_frames=1)).rstrip(b"\0")
    assert frame.endswith(b"\xff\xd9")
    frame = frame[:-2] + b"\xff\x64\x00\x0b\x00\x01PADDING" + b"\xff\xd9"
    film.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    return film


def write_all(folder: Path, peer: Callable[[str], str]) -> dict[str, Path]:
    """Write every film of `FILMS`, a CD with its DICOMDIR, and a page of HTML beside them."""
    folder.mkdir()
    paths = {name: folder / f"{name.replace(' ', '_')}.dcm" for name in FILMS}
    for name, (attributes, _) in HEADERS.items():
        write(sound_film(**attributes), paths[name])
    deep = jpeg_extended(sound_film(BitsStored=12, HighBit=11), folder, peer("dcmcjpeg"))
    write(with_scan_to_0(deep), paths["jpeg-extended-sos"])
    write(with_late_comment(sound_film()), paths["j2k-late-comment"])
    whole = write(sound_film(), paths["no-preamble"])
    whole.write_bytes(whole.read_bytes()[132:])
    longer = sound_film()
    longer.PixelData += b"\0\0"
    write(longer, paths["pixels-longer"])
    write_disc(folder / "cd", write(sound_film(), folder / "on-cd.dcm"))
    (folder / "on-cd.dcm").unlink()
    (folder / "cd" / "index.html").write_text("<html><body>A viewer</body></html>")
    (folder / "page.dcm").write_text("<html><body>404 Not Found</body></html>")
    return paths


def write_disc(folder: Path, *films: Path) -> None:
    """Write a CD's folder with its DICOMDIR.

    pydicom's file set stages in a temporary folder that it never removes itself, of which Python
    warns whenever the set is collected.
    """
    disc = FileSet()
    for film in films:
        disc.add(film)
    disc.write(folder)
    disc._stage["t"].cleanup()
