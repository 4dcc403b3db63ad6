"""An archive that speaks DICOMweb (PS3.18), Orthanc and others.

dicomweb-client searches and stores; `web_session` makes its requests safe. Objects are fetched
as bytes and not through the client, which would parse whatever it is given. No answer is
believed: what a search gives is filtered again, because archives pass over keys they do not
know, and what is stored is read back, because Orthanc answers success to a known UID with other
content and keeps the old object, and to an object for which its disk has no room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from itertools import islice
from typing import Any

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.dataset import Dataset

from radedit_dicom import web_rows as rows
from radedit_dicom.archive import Instance, Query, Study, instance_of
from radedit_dicom.errors import ArchiveError, NotDicomError, UnsupportedImageError
from radedit_dicom.parsing import parse
from radedit_dicom.readback import Comparison, compare, part10
from radedit_dicom.web_errors import RefusalError
from radedit_dicom.web_metadata import headers
from radedit_dicom.web_remove import remove
from radedit_dicom.web_session import WebAddress, WebSession, parts, resource

_PAGE = 500
_MOST_ROWS = 1_000_000
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
#: What pydicom is seen to raise on an answer to STOW that is no DICOM JSON.
_NO_DATASET = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
#: FailureReason (0008,1197), its first digit or whole: PS3.18 table I.2-2.
_FAILURES = {
    0x0122: "it does not take objects of this class",
    0xC122: "it does not take this transfer syntax",
    0xA: "it is out of space, or the object does not fit its class",
    0xC: "it does not understand the object",
}


class WebArchive:
    """A PACS, by DICOMweb.

    Safe to use from several threads; `address.concurrency` requests run at once at most.

    Parameters
    ----------
    address : WebAddress
    """

    def __init__(self, address: WebAddress) -> None:
        self.address = address
        self._session = WebSession(address)
        self._client = DICOMwebClient(
            address.url,
            session=self._session,
            permissive_uid=True,  # leading zeros too; `Instance` and `Query` have looked at them
            chunk_size=address.limit_bytes,  # a body in one piece can be sent again
        )
        self._client.set_http_retry_params(retry=False)  # the session does that

    def find(self, query: Query) -> list[Instance]:
        """List the instances that match, in the order of their UIDs (QIDO-RS).

        Study by study, unless the query names a series or an object: archives cut long lists
        short, some without a word, and of a study they tell how much it holds. A patient id or
        accession number with other characters than letters, digits, ``.``, ``_`` and ``-`` may
        cost a list of all studies, since Orthanc does not decode them.

        Raises
        ------
        ArchiveError
            The archive refuses, cannot be reached, answers with something else, or lists less
            than it says it holds.
        """
        direct = query.series_instance_uid is not None or query.sop_instance_uid is not None
        if direct and query.patient_id is None and query.accession_number is None:
            return sorted(set(self._instances(query)))
        with self._workers() as workers:
            lists = workers.map(lambda study: self._in_study(query, study), self.studies(query))
            return sorted({instance for listed in lists for instance in listed})

    def fetch(self, instance: Instance) -> bytes:
        """Give the Part 10 bytes of one instance as the archive holds them (WADO-RS).

        Raises
        ------
        ArchiveError
            It is not there, what came is no DICOM object or another one, or as `find`.
        """
        uid = instance.sop_instance_uid
        url = f"{self.address.url}/{resource(instance)}"
        try:
            answer = self._session.get(url, headers={"Accept": _ACCEPT})
        except RefusalError as refusal:
            if refusal.status in (404, 410):
                raise ArchiveError(
                    f"The archive holds no instance {uid}; look for the UIDs it holds."
                ) from None
            raise
        return _checked(answer, instance)

    def fetch_all(self, instances: Iterable[Instance]) -> Iterator[bytes]:
        """Fetch several instances at once, at most `address.concurrency`, in their order.

        Raises
        ------
        ArchiveError
            As `fetch`, at the first that cannot be had.
        """
        waiting = iter(instances)
        with self._workers() as workers:
            while batch := list(islice(waiting, self.address.concurrency)):
                yield from workers.map(self.fetch, batch)

    def store(self, objects: Sequence[Dataset]) -> list[Instance]:
        """Store objects one after the other, and read each back (STOW-RS).

        What the archive holds already is not sent again, so that a run that was broken off is
        completed by storing the same again. DICOMweb cannot store several objects as one: after
        an error in the middle the archive may hold the first of them.

        Raises
        ------
        ArchiveError
            The archive holds another object under one of the UIDs (then nothing is stored),
            does not store all of them, does not give back what was sent, or as `find`.
        """
        instances = [instance_of(dataset) for dataset in objects]
        contents = [part10(dataset) for dataset in objects]
        if len({instance.sop_instance_uid for instance in instances}) != len(instances):
            raise ArchiveError(
                "Two of the objects to store have one SOP instance UID; give each its own."
            )
        with self._workers() as workers:
            held = list(workers.map(self._held, objects, instances))
            fresh = [number for number, found in enumerate(held) if found is None]
            for number in fresh:
                self._send(contents[number])
            stored = workers.map(
                self._read_back, [objects[n] for n in fresh], [instances[n] for n in fresh]
            )
            for number, found in zip(fresh, stored, strict=True):
                held[number] = found
        return [found for found in held if found is not None]

    def remove(self, instances: Sequence[Instance]) -> None:
        """Remove instances, one after the other in the order given.

        Raises
        ------
        ArchiveError
            The archive does not allow it, still holds one of them, or as `find`.
        """
        for instance in instances:
            remove(self._session, instance)
            if self._instances(Query(sop_instance_uid=instance.sop_instance_uid)):
                raise ArchiveError(
                    f"The archive answered that it had removed the instance "
                    f"{instance.sop_instance_uid}, but still holds it; remove it by its own means."
                )

    def _workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.address.concurrency, thread_name_prefix="dicomweb")

    def _held(self, dataset: Dataset, instance: Instance) -> Instance | None:
        """Look whether the archive holds this object; refuse when it holds another one."""
        uid = instance.sop_instance_uid
        held = list(self._instances(Query(sop_instance_uid=uid)))
        if not held:
            return None
        said = f" ({len(held)} objects)"
        if len(held) == 1:
            found = self._compared(dataset, held[0])
            if found.differs is None:
                return replace(instance, coerced=found.coerced)
            said = f" ({found.differs})"
        raise ArchiveError(
            f"The archive already holds another object under the UID {uid}{said}, which must be "
            "unique; nothing was stored."
        )

    def _send(self, content: bytes) -> None:
        try:
            answer = self._client.store_instances([pydicom.dcmread(BytesIO(content))])
            failed = answer.get("FailedSOPSequence") or []
            reasons = [int(item.get("FailureReason", 0)) for item in failed]
        except _NO_DATASET:
            return  # an answer that says nothing; reading back will tell
        for reason in reasons:
            said = _FAILURES.get(reason) or _FAILURES.get(reason >> 12) or "look in its log"
            raise ArchiveError(
                f"The archive refuses an object with failure reason {reason:04X}: {said}; "
                "remove the cause and store the same again."
            )

    def _compared(self, dataset: Dataset, instance: Instance) -> Comparison:
        return compare(dataset, self.fetch(instance), strict=self.address.access.strict)

    def _read_back(self, dataset: Dataset, instance: Instance) -> Instance:
        uid = instance.sop_instance_uid
        if not self._instances(Query(sop_instance_uid=uid)):
            raise ArchiveError(
                f"The archive answered that it had stored the instance {uid}, but does not hold "
                "it; make sure that its storage is not full, and store the same again."
            )
        found = self._compared(dataset, instance)
        if found.differs is not None:
            raise ArchiveError(
                f"The archive answered that it had stored the instance {uid}, but gives back "
                f"another object ({found.differs}); it must store objects as they are."
            )
        return replace(instance, coerced=found.coerced)

    def headers(self, instances: Sequence[Instance]) -> dict[str, Dataset]:
        """Give headers without pixels, those that are told in whole; raises as `find`."""
        return headers(self._session, instances)

    def studies(self, query: Query) -> list[Study]:
        """Search for the studies that hold what the query wants; raises as `find`."""
        wanted = rows.filters(query, rows.STUDY)
        found = self._search(self._client.search_for_studies, rows.STUDY, wanted)
        matching = [row for row in found if rows.matches(row, query, rows.STUDY)]
        if not matching and not all(map(rows.is_plain, wanted.values())):
            plain = {key: value for key, value in wanted.items() if rows.is_plain(value)}
            found = self._search(self._client.search_for_studies, rows.STUDY, plain)
            matching = [row for row in found if rows.matches(row, query, rows.STUDY)]
        return [study for row in matching if (study := rows.study(row)) is not None]

    def _in_study(self, query: Query, study: Study) -> list[Instance]:
        """Search one study: for all it holds, so that what is missing is missed."""
        found = self._search(
            self._client.search_for_instances,
            rows.INSTANCE,
            {},
            expected=study.size,
            study_instance_uid=study.uid,
        )
        if study.size is not None and len(found) < study.size:
            raise ArchiveError(
                f"The archive lists {len(found)} of the {study.size} objects of a study; raise "
                "its limit on search results."
            )
        return rows.instances(found, query)

    def _instances(self, query: Query) -> list[Instance]:
        """Search all studies; an object that is there twice is given twice."""
        wanted = rows.filters(query, rows.INSTANCE)
        found = self._search(self._client.search_for_instances, rows.INSTANCE, wanted)
        return rows.instances(found, query)

    def _search(
        self,
        search: Callable[..., Any],
        level: rows.Level,
        wanted: dict[str, str],
        expected: int | None = None,
        **within: str,
    ) -> list[rows.Row]:
        """Ask for page after page until all that is expected has come, or nothing new comes."""
        found: list[rows.Row] = []
        seen: set[str] = set()
        asked = 0
        while True:
            page = self._page(
                search,
                limit=_PAGE,
                offset=asked,
                fields=level.fields,
                search_filters=wanted,
                **within,
            )
            fresh = [row for row in page if str(row) not in seen]
            found += fresh
            if not fresh or "SOPInstanceUID" in wanted:
                return found
            if expected is not None and len(found) >= expected:
                return found
            if len(found) > _MOST_ROWS:
                raise ArchiveError(
                    f"The archive lists more than {_MOST_ROWS} objects; narrow the search."
                )
            seen.update(map(str, fresh))
            asked += len(page)

    def _page(self, search: Callable[..., Any], **asked: Any) -> list[rows.Row]:
        try:
            page = search(**asked)
        except requests.JSONDecodeError:
            page = None
        return rows.checked(page, self.address.url)


def _checked(answer: requests.Response, instance: Instance) -> bytes:
    """Take the one object out of an answer, and make sure that it is the one asked for."""
    contents = parts(answer)
    try:
        if len(contents) != 1:
            raise NotDicomError
        header = parse(contents[0], pixels=False)
    except UnsupportedImageError:
        return contents[0]  # deflated: not looked into here either, `read_film` refuses it
    except NotDicomError:
        raise ArchiveError(
            f"What the archive gives for the instance {instance.sop_instance_uid} is no readable "
            "DICOM object; check the address, and the object in the archive."
        ) from None
    if str(header.get("SOPInstanceUID", "")) != instance.sop_instance_uid:
        raise ArchiveError(
            f"The archive gives another object than the instance {instance.sop_instance_uid} that "
            "was asked for; check the archive."
        )
    return contents[0]
