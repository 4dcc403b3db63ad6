"""MONAI Label tasks; the only home of its request dicts."""
