"""Objects sent to an archive, each in its own transfer syntax (C-STORE)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pydicom.dataset import FileDataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from radedit_dicom.dimse_address import DimseAddress
from radedit_dicom.dimse_association import associated, code
from radedit_dicom.dimse_status import class_name, store_failure
from radedit_dicom.errors import ArchiveError

#: With warnings too: what they did to the object, the read-back will show.
_STORED = (0x0000, 0xB000, 0xB006, 0xB007)
_MOST_CONTEXTS = 128  # of one association, PS3.8 9.3.2.2


def send_all(address: DimseAddress, left: list[FileDataset]) -> None:
    """Send objects, taking each off the list once the archive has it.

    Nothing is sent before the archive has agreed to the class and syntax of each.

    Parameters
    ----------
    address : DimseAddress
    left : list of pydicom.FileDataset
        As read from Part 10 bytes; what is left of it after an error was not stored.

    Raises
    ------
    DroppedError
        The association was lost.
    ArchiveError
        The archive does not take a class or syntax, or refuses an object.
    """
    if not left:
        return
    with associated(address, _proposed(left)) as association:
        for dataset in left:
            _check_accepted(address, association, dataset)
        while left:
            _send(address, association, left[0])
            left.pop(0)


def _proposed(datasets: Sequence[FileDataset]) -> list[PresentationContext]:
    """Propose each kind of object by itself.

    With several syntaxes in one context the archive would choose, and might choose one that
    the object would have to be compressed to. What is not compressed is offered in implicit
    VR as well, which every archive must know (PS3.5 10.1) and which changes no pixel.
    """
    kinds = [(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets]
    plain = [(c, ImplicitVRLittleEndian) for c, s in kinds if _may_be_implicit(s)]
    wanted = list(dict.fromkeys([*kinds, *plain]))
    if len(wanted) > _MOST_CONTEXTS:
        raise ArchiveError(
            f"Objects of {len(wanted)} classes and syntaxes do not fit one association; store "
            "them in several calls."
        )
    return [build_context(sop_class, syntax) for sop_class, syntax in wanted]


def _may_be_implicit(syntax: UID) -> bool:
    return not syntax.is_compressed and syntax.is_little_endian


def _check_accepted(address: DimseAddress, association: Association, dataset: FileDataset) -> None:
    sop_class, syntax = dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID
    accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
    if (sop_class, syntax) in accepted:
        return
    if _may_be_implicit(syntax) and (sop_class, ImplicitVRLittleEndian) in accepted:
        return
    known = any(sop_class == c.abstract_syntax for c in association.accepted_contexts)
    raise ArchiveError(
        f"The archive {address} accepts no presentation context for {class_name(sop_class)} in "
        f"{class_name(syntax)}; have {'that syntax' if known else 'that class'} allowed there, "
        "nothing was stored."
    )


def _send(address: DimseAddress, association: Association, dataset: FileDataset) -> None:
    started = time.monotonic()
    status = code(address, association.send_c_store(dataset), started)
    if status not in _STORED:
        raise ArchiveError(
            f"The archive {address} did not store the {class_name(dataset.SOPClassUID)} "
            f"{dataset.SOPInstanceUID}: it {store_failure(status)}."
        )
