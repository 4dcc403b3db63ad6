"""The commands of `radedit`, one module for each kind of work; `cli` puts them together.

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""
