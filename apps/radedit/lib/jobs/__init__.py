"""Edits as durable jobs: a queue in a database, and worker processes that hold the models.

model       a request, a job and its states, as JSON too
database    the database: SQLite in a file, or Postgres
tables      what of a job is kept, beside DBOS's own tables
queue       submit, look up, cancel, retry; all that a server's process needs
turns       a worker's share: take waiting jobs, note each step, end them
films       the film, the masks and the way out of one job
batch       the jobs of one turn run as one batch
heartbeat   which workers are alive; the turns of a dead one are handed on
worker      the worker process
supervisor  workers started, started again, and ended
"""
