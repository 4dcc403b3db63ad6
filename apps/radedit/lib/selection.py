"""Which films of a folder or an archive to edit, and what was passed over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from radedit_dicom.archive import Instance, Query
from radedit_dicom.cache import Cache
from radedit_dicom.errors import ArchiveError, DicomError
from radedit_dicom.frontal import NO_IMAGE, View, Wanted, choose_frontal
from radedit_dicom.headers import headers
from radedit_dicom.parsing import parse
from radedit_dicom.vocabulary import FILM_MODALITIES

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Selection:
    """The films of one run, by name: a path, or in an archive a SOP Instance UID.

    Attributes
    ----------
    films : the file of each film to edit
    passed_over : a sentence on each object that is none
    failed : a sentence on each object that could not be had
    instances : of an archive, each film as it names it
    """

    films: Mapping[str, Path]
    passed_over: Mapping[str, str]
    failed: Mapping[str, str]
    instances: Mapping[str, Instance]


def of_folder(folder: Path, wanted: Wanted | None = None) -> Selection:
    """Choose among all files of a folder and its subfolders."""
    paths = {str(path): path for path in sorted(folder.rglob("*")) if path.is_file()}
    views, refused = _views(paths)
    choice = choose_frontal(views, wanted)
    return Selection(
        films={name: paths[name] for name in choice.chosen},
        passed_over={**refused, **choice.passed_over},
        failed={},
        instances={},
    )


def of_archive(
    cache: Cache, scope: Query, wanted: Wanted | None = None, progress: Progress | None = None
) -> Selection:
    """Choose among the objects of an archive, by headers; what is chosen is fetched.

    An archive that tells no headers has every CR and DX fetched to read them.

    Parameters
    ----------
    cache : of the archive; files of what is passed over are dropped again
    scope : such as one study
    progress : called with (done, total) fetched objects

    Raises
    ------
    ArchiveError
        The archive cannot be searched. What it does not give is in `Selection.failed`.
    """
    found = cache.archive.find(scope)
    films = [instance for instance in found if instance.modality in FILM_MODALITIES | {""}]
    others = {i.sop_instance_uid: NO_IMAGE for i in found if i.modality not in FILM_MODALITIES}
    by_uid = {instance.sop_instance_uid: instance for instance in films}
    told = headers(cache.archive, films) if len(films) > 1 else {}
    views = {uid: View.of(header) for uid, header in told.items()}
    paths: dict[str, Path] = {}
    failed: dict[str, str] = {}
    refused: dict[str, str] = {}
    left = [uid for uid in by_uid if uid not in views]
    while True:
        for done, uid in enumerate(left):
            if progress is not None:
                progress(done, len(left))
            views.pop(uid, None)
            try:
                paths[uid] = cache.path_of(by_uid[uid])
            except ArchiveError as error:
                failed[uid] = str(error)
        fetched, unreadable = _views({uid: paths[uid] for uid in left if uid in paths})
        views, refused = views | fetched, refused | unreadable
        choice = choose_frontal({uid: views[uid] for uid in by_uid if uid in views}, wanted)
        # The object itself decides: what its header was said to be may not be all of it.
        left = [uid for uid in choice.chosen if uid not in paths]
        if not left:
            break
    passed_over = {**others, **refused, **choice.passed_over}
    for name in paths:
        if name in passed_over:
            cache.drop(by_uid[name])
    return Selection(
        films={name: paths[name] for name in choice.chosen},
        passed_over=passed_over,
        failed=failed,
        instances={name: by_uid[name] for name in choice.chosen},
    )


def _views(paths: Mapping[str, Path]) -> tuple[dict[str, View], dict[str, str]]:
    views: dict[str, View] = {}
    refused: dict[str, str] = {}
    for name, path in paths.items():
        try:
            views[name] = View.of(parse(path, pixels=False))
        except DicomError as error:
            refused[name] = str(error)
    return views, refused
