"""What a user asks for: the prompt, the masks and the numbers, apart from window and scene."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

import numpy as np

PREFIX = "RadEdit/"  # of the keys in Slicer's settings


class Settings(Protocol):
    """The two methods of QSettings that are used."""

    def value(self, key: str, default: Any = None) -> Any:
        """Read a value."""

    def setValue(self, key: str, value: Any) -> None:
        """Write a value."""


@dataclass(frozen=True)
class Parameter:
    """One edit, as it is asked of the server.

    Attributes
    ----------
    prompt : what should be seen
    edit_mask, keep_mask : in the server's mask language, such as "task:lung_segmentation:left";
        "" = none. Masks drawn in Slicer are `DRAWN_EDIT` and `DRAWN_KEEP`.
    invert_prompt : what is seen now; "" = the server's default
    edit_model : "" = the server's default
    study_mode : "new" (a study of its own) or "same"
    numbers : method, steps, skip, guidance, seed, support; what is missing is the server's
    """

    prompt: str = ""
    edit_mask: str = ""
    keep_mask: str = ""
    invert_prompt: str = ""
    edit_model: str = ""
    study_mode: str = "new"
    numbers: Mapping[str, int | float | str] = field(default_factory=dict)

    def request(self, sop_uid: str, masks: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Write the edit down as the server's job interface takes it.

        Parameters
        ----------
        sop_uid : the film's SOP Instance UID
        masks : name to bool [rows, columns] on the film's own pixels, True = inside
        """
        said = {k: v for k, v in asdict(self).items() if k != "numbers" and v != ""}
        request = {"sop_instance_uid": sop_uid, **said, **self.numbers}
        if masks:
            packed = {name: base64.b64encode(png(mask)).decode() for name, mask in masks.items()}
            request["masks"] = packed
        return request

    def remember(self, settings: Settings) -> None:
        """Keep the choices for the next session; neither prompt nor token among them."""
        for name in ("edit_model", "study_mode"):
            settings.setValue(PREFIX + name, getattr(self, name))
        for name, value in self.numbers.items():
            settings.setValue(f"{PREFIX}numbers/{name}", value)


DRAWN_EDIT = "uploaded:edit"
DRAWN_KEEP = "uploaded:keep"


def remembered(settings: Settings, numbers: Mapping[str, type]) -> Parameter:
    """Read what was kept in an earlier session; what is not there, or no such number, is default.

    Parameters
    ----------
    numbers : name to type of what `Parameter.numbers` holds
    """
    kept = {f.name: f.default for f in fields(Parameter) if f.name in ("edit_model", "study_mode")}
    texts = {name: str(settings.value(PREFIX + name, default)) for name, default in kept.items()}
    found: dict[str, int | float | str] = {}
    for name, kind in numbers.items():
        value = settings.value(f"{PREFIX}numbers/{name}")
        try:
            if value is not None:
                found[name] = kind(value)
        except ValueError:
            continue
    return Parameter(numbers=found, **texts)


def png(mask: np.ndarray) -> bytes:
    """Write a mask as a PNG: 8-bit grey, 255 = inside.

    Parameters
    ----------
    mask : bool [rows, columns]

    Notes
    -----
    Source: W3C PNG, 5 (chunks), 11.2 (IHDR, IDAT, IEND); every row is filtered with type 0.
    """
    rows, columns = mask.shape
    pixels = np.zeros((rows, columns + 1), dtype=np.uint8)
    pixels[:, 1:] = np.where(mask, 255, 0)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
