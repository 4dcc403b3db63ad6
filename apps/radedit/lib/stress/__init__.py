"""Stress tests: the embedded victims to try them on, and the judge of what an edit left."""
