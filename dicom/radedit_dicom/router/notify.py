"""Dead letters, told to a person by webhook: at least once each."""

from __future__ import annotations

import requests

from radedit_dicom.router.journal import Journal

_TIMEOUT_S = 10.0
_MOST = 100
_NEW = """
SELECT 'job-' || id AS id, error FROM jobs WHERE state = 'dead' AND notified = 0
UNION ALL
SELECT 'delivery-' || id, error FROM deliveries WHERE state = 'dead' AND notified = 0
LIMIT ?
"""


def notify(journal: Journal, webhook: str) -> int:
    """Post what became a dead letter since the last time.

    The body is JSON, `{"dead": [{"id": ..., "error": ...}]}`; any answer below 400 counts as
    heard, and otherwise the same is posted again at the next call.

    Returns
    -------
    int
        How many were told.
    """
    found = [dict(row) for row in journal.rows(_NEW, (_MOST,))]
    if not found or not webhook:
        return 0
    try:
        answer = requests.post(
            webhook, json={"dead": found}, timeout=_TIMEOUT_S, allow_redirects=False
        )
    except requests.RequestException:
        return 0
    if answer.status_code >= 400:
        return 0
    with journal.change() as change:
        for each in found:
            kind, _, key = each["id"].partition("-")
            table = "jobs" if kind == "job" else "deliveries"
            change.execute(f"UPDATE {table} SET notified = 1 WHERE id = ?", (key,))
    return len(found)
