"""The router joined to edits: its processes, its workers, its page."""
