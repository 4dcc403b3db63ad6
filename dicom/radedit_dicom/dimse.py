"""An archive that speaks DICOM's own network protocol: C-ECHO, C-FIND, C-GET or C-MOVE, C-STORE.

Every call makes associations of its own, so one `DimseArchive` may serve several threads;
only calls that have the archive call back (C-MOVE, storage commitment with a port) wait for
each other, as there is one port for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from radedit_dicom import dimse_commitment
from radedit_dicom.archive import Instance, Query, Study, instance_of, query_of
from radedit_dicom.dimse_address import DimseAddress
from radedit_dicom.dimse_association import associated, code, with_retries
from radedit_dicom.dimse_find import find_instances, find_studies
from radedit_dicom.dimse_retrieve import retrieve_all
from radedit_dicom.dimse_send import send_all
from radedit_dicom.errors import ArchiveError
from radedit_dicom.readback import compare, part10


class DimseArchive:
    """A PACS, by DIMSE.

    Parameters
    ----------
    address : DimseAddress
    """

    def __init__(self, address: DimseAddress) -> None:
        self.address = address
        self._port = threading.Lock()

    def echo(self) -> None:
        """See whether the archive answers at all (C-ECHO).

        Raises
        ------
        ArchiveError
            It does not, or not to us.
        """
        with_retries(self.address, self._echo)

    def find(self, query: Query) -> list[Instance]:
        """List the instances that match, in the order of their UIDs (C-FIND).

        Raises
        ------
        ArchiveError
            The archive cannot be reached or refuses.
        """
        return with_retries(self.address, lambda: find_instances(self.address, query))

    def studies(self, query: Query) -> list[Study]:
        """List studies (C-FIND), as far as the archive tells which hold a modality.

        Raises
        ------
        ArchiveError
            As `find`.
        """
        return with_retries(self.address, lambda: find_studies(self.address, query))

    def fetch(self, instance: Instance) -> bytes:
        """Give the Part 10 bytes of one instance, as the archive sent them (C-GET or C-MOVE).

        Raises
        ------
        ArchiveError
            It is not there, is too large, cannot be sent in a syntax that can be read, or the
            archive cannot be reached.
        """
        if not instance.sop_class_uid:  # it is needed to agree on what is to come
            instance = next(iter(self.find(query_of(instance))), instance)
        contents: list[bytes] = []
        self._retrieve([instance], lambda _, content: contents.append(content))
        return contents[0]

    def store(self, objects: Sequence[Dataset]) -> list[Instance]:
        """Store objects in the order given, and read each back (C-STORE, then C-GET or C-MOVE).

        Nothing is sent before the archive has agreed to the class and syntax of every object.
        DICOM has no transaction: a failure in the middle can leave the first of them behind;
        storing the same objects again completes them. With `DimseAddress.commitment` the
        archive's commitment is asked for before the objects are read back.

        Raises
        ------
        ArchiveError
            The archive refuses an object, does not commit to it or does not give it back, or
            holds another object under its UID.
        """
        instances = self.send(objects)
        if self.address.commitment:
            self.commit(instances)
        sent = {str(dataset.SOPInstanceUID): dataset for dataset in objects}
        coerced: dict[str, tuple[str, ...]] = {}

        def check(instance: Instance, content: bytes) -> None:
            uid = instance.sop_instance_uid
            found = compare(sent[uid], content, strict=self.address.strict)
            if found.differs:
                raise ArchiveError(
                    f"The archive {self.address} answered success but holds another object under "
                    f"the UID {uid} ({found.differs}); remove that one, or give the new one its "
                    "own UID."
                )
            coerced[uid] = found.coerced

        self._retrieve(instances, check, may_be_late=True)
        return [replace(each, coerced=coerced[each.sop_instance_uid]) for each in instances]

    def send(self, objects: Sequence[Dataset]) -> list[Instance]:
        """Store objects without reading them back (C-STORE), for peers that only receive.

        Raises
        ------
        ArchiveError
            As `store`, for what happens while sending.
        """
        instances = [instance_of(dataset) for dataset in objects]
        if len({instance.sop_instance_uid for instance in instances}) != len(instances):
            raise ArchiveError(
                "Two of the objects to store have one SOP instance UID; give each its own."
            )
        left = [pydicom.dcmread(BytesIO(part10(dataset))) for dataset in objects]
        with_retries(self.address, lambda: send_all(self.address, left))
        return instances

    def commit(self, instances: Sequence[Instance]) -> None:
        """Have the archive promise to keep instances (storage commitment).

        Parameters
        ----------
        instances : sequence of Instance
            With SOP classes.

        Raises
        ------
        ArchiveError
            It does not, for one of them or at all, or sends no word in time.
        """
        if not instances:
            return
        with self._our_port(self.address.move_port is not None):
            with_retries(self.address, lambda: dimse_commitment.commit(self.address, instances))

    def _echo(self) -> None:
        with associated(self.address, [build_context(Verification)]) as association:
            started = time.monotonic()
            if status := code(self.address, association.send_c_echo(), started):
                raise ArchiveError(
                    f"The archive {self.address} answered an echo with status 0x{status:04X}; "
                    "look in its log."
                )

    def _retrieve(
        self,
        instances: Sequence[Instance],
        take: Callable[[Instance, bytes], None],
        may_be_late: bool = False,
    ) -> None:
        left = list(instances)
        with self._our_port(self.address.retrieve == "move"):
            with_retries(
                self.address,
                lambda: retrieve_all(self.address, left, take, may_be_late=may_be_late),
            )

    def _our_port(self, needed: bool) -> AbstractContextManager[object]:
        return self._port if needed else nullcontext()
