"""The MONAI Label task that edits: what it refuses before it reads a film or loads a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from radedit.lib.errors import RadEditError
from radedit.lib.infers.radedit import RadEdit
from radedit.lib.pipeline import Editor
from radedit_dicom.folder import FolderArchive


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": "Quidditch"}, "does not know: Quidditch"),
        ({"invert_prompt": "Quidditch"}, "inversion prompt"),
        ({"film_text": "Quidditch"}, "film text"),
        ({"edit_mask": "task:lungs"}, "no mask task 'lungs'"),
        ({"edit_mask": "task:lung_segmentation:middle"}, "no label 'middle'"),
        ({"keep_mask": "uploaded:a", "masks": {"b": ""}}, r"no mask named 'a' .*\(sent: b\)"),
        ({"keep_mask": "remote:http://other/lungs"}, "remote_servers"),
    ],
)
def test_words_and_names_are_refused_before_a_film_is_read_or_a_model_loaded(
    tmp_path: Path, given: dict[str, object], said: str
) -> None:
    editor = Editor()
    task = RadEdit(editor, FolderArchive(tmp_path))
    request = {"prompt": "Mass", "image": str(tmp_path / "there is none"), **given}
    with pytest.raises(RadEditError, match=said):
        task(request)
    assert not editor._backbones
