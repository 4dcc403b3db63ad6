"""Stress tests, and the judge of what an edit left."""
