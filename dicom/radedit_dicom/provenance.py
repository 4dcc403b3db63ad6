"""The record of one edit: enough to rebuild its pixels, and to notice when they changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import PYDICOM_ROOT_UID, UID, generate_uid

from radedit_dicom import vocabulary as words
from radedit_dicom.errors import ProvenanceError

if TYPE_CHECKING:
    from highdicom import ContributingEquipment

#: Of the records that are written. 1, or none said: the edit mask in the SEG lacks the objects
#: whose attenuation was kept, and neither display nor decoder of the source is recorded.
SCHEMA = 2

#: Not in the first records.
_LATER = frozenset({"schema", "source_display_sha256", "source_decoder"})
_JSON, _EDIT_ID, _MODEL_HASH, _PIXEL_HASH = 0x01, 0x02, 0x03, 0x04


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything that decided an edit. Masks are in the SEG; here are their hashes.

    Attributes
    ----------
    edit_id : str
        Unique identifier of the edit (UUID or hex); the UIDs of its objects follow from it.
    tool, tool_version : str
        The program.
    method, model, model_sha256 : str
        Editing method, model name, SHA-256 of the weights.
    prompt, invert_prompt : str
        Text of the edit and text used while inverting.
    steps, skip, guidance, seed : int, float, float, int
        Sampling parameters.
    support : str
        How the region that may change was made from the edit mask.
    edit_mask, keep_mask : str, str or None
        Mask expressions as given; None = no keep mask.
    source_sop_instance_uid : str
    source_pixel_sha256, result_pixel_sha256 : str
        `pixel_sha256` of the stored values before and after.
    edit_mask_sha256, keep_mask_sha256 : str, str or None
        `pixel_sha256` of the masks (bool).
    seg_sop_instance_uid : str
        The SEG with the masks; empty until the objects are built.
    platform : mapping of str to str
        Versions and hardware; the same bytes are promised only on the same platform.
    batch : int
        Batch size the edit ran in.
    created : str
        ISO 8601 date and time, with the offset from UTC.
    extra : mapping of str to str
        Parameters of one method only.
    schema : int
        Version of the record, see `SCHEMA`; 1 = from before it was said.
    source_display_sha256 : str
        `pixels.display_sha256` of the film; "" = not recorded.
    source_decoder : str
        What decoded the film's pixels, with its version; "" = they were not compressed, or it is
        not recorded.
    unknown : mapping of str to any JSON value
        Fields that another version wrote; they are written again as they are.
    """

    edit_id: str
    tool: str
    tool_version: str
    method: str
    model: str
    model_sha256: str
    prompt: str
    invert_prompt: str
    steps: int
    skip: float
    guidance: float
    seed: int
    support: str
    edit_mask: str
    keep_mask: str | None
    source_sop_instance_uid: str
    source_pixel_sha256: str
    result_pixel_sha256: str
    edit_mask_sha256: str
    keep_mask_sha256: str | None
    platform: Mapping[str, str]
    batch: int
    created: str
    seg_sop_instance_uid: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    schema: int = 1
    source_display_sha256: str = ""
    source_decoder: str = ""
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every type (frozen copies of the mappings), so that JSON gives back the same."""
        for name in ("platform", "extra", "unknown"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        for item in fields(self):
            value = getattr(self, item.name)
            if not _has_type(value, str(item.type)):
                raise ProvenanceError(
                    f"The provenance field {item.name} is a {type(value).__name__}, but "
                    f"{item.type} is needed; the record is damaged or from another version."
                )
        if self.created_at.utcoffset() is None:
            raise ProvenanceError(
                "The provenance field created has no offset from UTC; give one, as in +00:00."
            )

    @property
    def created_at(self) -> datetime:
        """`created`, parsed.

        Raises
        ------
        ProvenanceError
            It is no ISO 8601 date and time.
        """
        try:
            return datetime.fromisoformat(self.created)
        except ValueError:
            raise ProvenanceError(
                "The provenance field created is no ISO 8601 date and time; "
                "the record is damaged, use the original object."
            ) from None

    @property
    def parameters(self) -> dict[str, Any]:
        """What was asked of the method, by the names that a request gives it; ready for JSON."""
        names = ("method", "model", "prompt", "invert_prompt", "edit_mask", "keep_mask", "steps",
                 "skip", "guidance", "seed", "support")  # fmt: skip
        return {**{name: getattr(self, name) for name in names}, **self.extra}

    def to_json(self) -> str:
        """Write as JSON: sorted keys, ASCII, no NaN, so that equal records are equal text.

        Raises
        ------
        ProvenanceError
            A number is not finite.
        """
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        plain.update(platform=dict(self.platform), extra=dict(self.extra))
        plain.update(plain.pop("unknown"))
        try:
            return json.dumps(plain, sort_keys=True, allow_nan=False)
        except ValueError:
            raise ProvenanceError(
                "A number of the provenance is not finite, but only finite ones can be "
                "recorded; correct the parameters."
            ) from None

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Read what `to_json` of this or another version wrote.

        Raises
        ------
        ProvenanceError
            No JSON object, or missing or wrongly typed fields.
        """
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError):
            plain = None
        known = {item.name for item in fields(cls)} - {"unknown"}
        if not isinstance(plain, dict) or not known - _LATER <= set(plain):
            raise ProvenanceError(
                "The provenance record is no JSON object with all the fields that a record has; it "
                "is damaged or from another version, use the version that wrote it."
            )
        if not isinstance(plain["platform"], dict) or not isinstance(plain["extra"], dict):
            raise ProvenanceError(
                "The provenance fields platform and extra are no tables; the record is damaged, "
                "use the original object."
            )
        for name in ("skip", "guidance"):
            if type(plain[name]) is int:
                plain[name] = float(plain[name])
        unknown = {name: value for name, value in plain.items() if name not in known}
        return cls(**{n: v for n, v in plain.items() if n in known}, unknown=unknown)


def pixel_sha256(values: NDArray[Any]) -> str:
    """SHA-256 over shape, type and values, the same on every machine.

    Parameters
    ----------
    values : bool, uint16 or int32 [rows, columns]
        Stored values as in `Film.stored`, or a mask.

    Returns
    -------
    str
        64 hex digits.
    """
    plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    digest = hashlib.sha256()
    digest.update(f"radedit-pixels-1 {values.shape} {values.dtype.kind}".encode("ascii"))
    digest.update(f"{values.dtype.itemsize}\n".encode("ascii"))
    digest.update(plain.tobytes())
    return digest.hexdigest()


def edit_uid(provenance: Provenance, role: str) -> UID:
    """UID of one object (or series, or study) of an edit, the same at every call.

    Parameters
    ----------
    provenance : Provenance
        Its `edit_id`, source and result count: another result never takes the same UID.
    role : str
        Which object, such as ``"sc"`` or ``"sc-series"``.

    Returns
    -------
    pydicom.uid.UID
    """
    entropy = [
        provenance.edit_id,
        provenance.source_sop_instance_uid,
        provenance.result_pixel_sha256,
        role,
    ]
    return generate_uid(prefix=PYDICOM_ROOT_UID, entropy_srcs=["\x00".join(entropy)])


def write_private(dataset: Dataset, provenance: Provenance) -> None:
    """Put the record into the private block of an object.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Changed in place.
    provenance : Provenance
    """
    block = dataset.private_block(words.PRIVATE_GROUP, words.PRIVATE_CREATOR, create=True)
    for offset, vr, value in (
        (_JSON, "UT", provenance.to_json()),
        (_EDIT_ID, "LO", provenance.edit_id),
        (_MODEL_HASH, "LO", provenance.model_sha256),
        (_PIXEL_HASH, "LO", provenance.result_pixel_sha256),
    ):
        block.add_new(offset, vr, value)


def read_private(dataset: Dataset) -> Provenance:
    """Read the record back from the private block of an object.

    Raises
    ------
    ProvenanceError
        The block is absent (de-identification strips it) or damaged.
    """
    try:
        block = dataset.private_block(words.PRIVATE_GROUP, words.PRIVATE_CREATOR)
        value = block[_JSON].value
    except KeyError:
        raise ProvenanceError(
            "The object has no provenance block, which RadEdit writes and de-identification "
            "removes; use the original object, or the report of the same edit, which has a copy."
        ) from None
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return Provenance.from_json(text.rstrip("\x00 "))


def contributing_equipment(provenance: Provenance) -> ContributingEquipment:
    """Item that names the program as what synthesised the object (PS3.3 C.12.1.1.5)."""
    from highdicom import ContributingEquipment  # who reads needs none

    return ContributingEquipment(
        manufacturer=words.MANUFACTURER,
        purpose_of_reference=words.SYNTHESIZING_EQUIPMENT,
        manufacturer_model_name=words.MODEL_NAME,
        software_versions=provenance.tool_version[:64],
        contribution_datetime=provenance.created_at,
        contribution_description=f"{provenance.method}, model {provenance.model}"[:1024],
    )


def as_rows(provenance: Provenance) -> list[tuple[str, str]]:
    """List the record as (field, text) for a report, without what is absent."""
    values = [(item.name, getattr(provenance, item.name)) for item in fields(provenance)]
    return [(name, _text(value)) for name, value in values if value not in (None, "", {})]


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={value[key]}" for key in sorted(value))
    return str(value)


def _has_type(value: object, wanted: str) -> bool:
    if wanted == "str | None":
        return value is None or isinstance(value, str)
    if wanted == "Mapping[str, Any]":
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if wanted == "Mapping[str, str]":
        return isinstance(value, Mapping) and all(
            isinstance(part, str) for pair in value.items() for part in pair
        )
    kinds: dict[str, type] = {"str": str, "int": int, "float": float}
    return isinstance(value, kinds[wanted]) and not isinstance(value, bool)
