"""Print the sha256 table of a checkpoint folder for models.toml.

    python -m radedit.lib.edit.backbone.pin FOLDER [MODEL]

FOLDER holds unet/, vae/, text_encoder/, tokenizer/ and scheduler/; only files that the
loader would read are listed. MODEL defaults to the folder's name.
"""

from __future__ import annotations

import sys
from pathlib import Path

from radedit.lib.edit.backbone.files import REQUIRED, TOKENIZER_FILES, file_sha256


def sha256_table(folder: Path) -> dict[str, str]:
    """Return "component/file" -> sha256 of every file the loader would read."""
    names = {**REQUIRED, "tokenizer": TOKENIZER_FILES}
    return {
        f"{part}/{name}": file_sha256(folder / part / name)
        for part, files in names.items()
        for name in files
        if (folder / part / name).is_file()
    }


def main(arguments: list[str]) -> int:
    """Print the table; exit status 2 on wrong usage, 1 when the folder holds no component."""
    if len(arguments) not in (1, 2):
        print("usage: python -m radedit.lib.edit.backbone.pin FOLDER [MODEL]", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    table = sha256_table(folder)
    if not table:
        print(f"{folder} holds no component of a checkpoint.", file=sys.stderr)
        return 1
    name = arguments[1] if len(arguments) == 2 else folder.resolve().name
    print(f"[models.{name}.sha256]")
    for key, digest in table.items():
        print(f'"{key}" = "{digest}"')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
