"""Measurements against the phantom's truth; `radedit bench` runs them."""
