"""What of a job is kept. DBOS keeps its workflows in tables of its own, in the same database.

A job is a row of `jobs`; what it needs and leaves while it runs has rows of its own, so that a
look at a job is cheap. Every change of a job's state is one guarded statement, so a job ends
once, whoever else tries.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from radedit.lib.jobs.model import Job, moment

metadata: Final = sa.MetaData()

jobs: Final = sa.Table(
    "radedit_jobs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("image", sa.Text, nullable=False, index=True),
    sa.Column("plan", sa.Text, nullable=False),  # jobs of one plan may share a batch
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("queued", sa.Double, nullable=False),  # the order of the queue; a retry goes last
    sa.Column("started", sa.Double),
    sa.Column("ended", sa.Double),
    sa.Column("stage", sa.Text, nullable=False, default=""),
    sa.Column("done", sa.Integer, nullable=False, default=0),
    sa.Column("total", sa.Integer, nullable=False, default=0),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("endings", sa.Integer, nullable=False, default=0),  # how often it came to an end
    sa.Column("fruitless", sa.Integer, nullable=False, default=0),  # begun without one step done
    sa.Column("ticket", sa.Text, nullable=False),  # the DBOS workflow that waits for it
    sa.Column("turn", sa.Text, index=True),  # the one that took it; a batch shares one
    sa.Column("runner", sa.Text),  # the one execution of it that may write
    sa.Column("result", sa.JSON),
    sa.Column("error", sa.Text),
    sa.Column("version", sa.Integer, nullable=False, default=0),
)

masks: Final = sa.Table(
    "radedit_job_masks",
    metadata,
    sa.Column("job", sa.ForeignKey("radedit_jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("png", sa.LargeBinary, nullable=False),
)

#: The last finished step of a running job, and its place in the batch that it runs in.
checkpoints: Final = sa.Table(
    "radedit_job_checkpoints",
    metadata,
    sa.Column("job", sa.ForeignKey("radedit_jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("seat", sa.Integer, nullable=False),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("delta", sa.LargeBinary, nullable=False),  # see `batch.signed`
)

workers: Final = sa.Table(
    "radedit_workers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("seen", sa.Double, nullable=False),
)


def job_of(row: sa.Row[Any]) -> Job:
    """Read a row of `jobs`."""
    return Job(
        id=row.id,
        state=row.state,
        request=row.request,
        done=row.done,
        total=row.total,
        stage=row.stage,
        attempts=row.attempts,
        result=row.result if row.state == "done" else None,  # not while it is looked at anew
        error=row.error,
        created=moment(row.created),
        started=moment(row.started),
        ended=moment(row.ended),
        version=row.version,
    )
