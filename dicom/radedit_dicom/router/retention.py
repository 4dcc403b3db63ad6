"""Clean-up: files of what is done with, never of what is unsent or waits for a person."""

from __future__ import annotations

import shutil

from radedit_dicom.router.audit import Audit
from radedit_dicom.router.journal import Journal, now
from radedit_dicom.router.spool import Spool

REMOVED = "removed"
_DAY_S = 86400.0
#: What a delivery or a job must not be in for its files to go.
_OPEN_DELIVERY = "('held', 'waiting', 'sending', 'arrived', 'dead')"
_OPEN_JOB = "('queued', 'running', 'dead')"
#: An open job needs its film, and of the film's study whatever may hold a mask.
_DONE_WITH = f"""
received < ? AND state IN ('planned', 'guarded', 'unmatched', 'discarded')
AND NOT EXISTS (SELECT 1 FROM deliveries WHERE uid = i.uid AND state IN {_OPEN_DELIVERY})
AND NOT EXISTS (SELECT 1 FROM jobs AS j JOIN instances AS film ON film.uid = j.subject
                WHERE film.study = i.study AND j.state IN {_OPEN_JOB})
AND NOT EXISTS (SELECT 1 FROM cohorts AS c JOIN jobs AS j ON j.id = c.job
                JOIN instances AS film ON film.uid = c.uid
                WHERE film.study = i.study AND j.state IN {_OPEN_JOB})
"""
_DONE_OBJECTS = f"SELECT uid, file FROM instances AS i WHERE {_DONE_WITH}"
_DONE_JOBS = f"""
SELECT id FROM jobs AS j WHERE ended < ? AND state IN ('done', 'discarded')
AND NOT EXISTS (SELECT 1 FROM deliveries WHERE job = j.id AND state IN {_OPEN_DELIVERY})
"""


def clean_up(spool: Spool, journal: Journal, audit: Audit, keep_days: float) -> int:
    """Remove files of objects and results that are older and done with; their rows stay.

    An object that comes again afterwards is known by its hash and not routed twice.

    Parameters
    ----------
    spool, journal, audit
        Of the route.
    keep_days : float

    Returns
    -------
    int
        How many objects and results were removed.
    """
    before = now() - keep_days * _DAY_S
    removed = 0
    for row in journal.rows(_DONE_OBJECTS, (before,)):
        with journal.change() as change:  # the row first: a file without one is swept
            gone = change.execute(  # asked again: a person may have had it sent once more
                f"UPDATE instances AS i SET state = ? WHERE uid = ? AND {_DONE_WITH}",
                (REMOVED, row["uid"], before),
            ).rowcount
        if not gone:
            continue
        (spool.folder / row["file"]).unlink(missing_ok=True)
        removed += 1
    for row in journal.rows(_DONE_JOBS, (before,)):
        folder = spool.results(row["id"])
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    if removed:
        audit.write("cleaned up", count=removed)
    return removed
