"""Where MONAI Label looks for the app: ``monailabel start_server --app apps/radedit``.

MONAI Label runs this file by its path and takes the one subclass of MONAILabelApp in it.
"""

try:
    from radedit.lib.app import RadEditApp
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("radedit", "radedit_dicom"):
        raise
    raise SystemExit(
        "radedit: the package 'radedit-monailabel' is not installed in this Python; run "
        "`make setup` in the repository and start .venv/bin/monailabel, or install it with pip."
    ) from error

__all__ = ["RadEditApp"]
