"""Many films as a pipeline: fetched, edited and stored at the same time, and gone on with.

plan        what a batch run shall do
cohort      which films, study by study, out of a folder, an archive or a list
results     where edits go, and whether they are there already
stages      how long each stage of the way was busy
line        the way of the films in one process: fetch, masks, edit, store
worker      that process: one for each device
crew        the processes, fed and replaced by the one that keeps the journal
journal     what became of each film, on the disk at once
summary     the run in figures, and the stage that bounds it
"""
