"""Three films that every victim is asked about before the first edit, and again by each later run.

They show what it makes of films before hours go into edits, and whether the model behind an address
is still the one that gave the answers that are there. A model that is a file here is known by its
sha256, so it is not asked again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from radedit.lib.errors import VictimError
from radedit.lib.json_lines import written_to
from radedit.lib.stress.asking import Asked, ask, facing
from radedit.lib.stress.ledger import Ledger, Row
from radedit.lib.stress.rows import about_row, answer_row, card_row, model_of
from radedit.lib.stress.variants import Arm, Shown, region_of
from radedit.lib.victims.answers import SAME
from radedit_dicom.pixels import to_display

if TYPE_CHECKING:
    from radedit.lib.stress.runner import Bench
    from radedit.lib.victims.protocol import Victim

SENT: Final = "sent"
_REAL: Final = Arm("real")
_SIDE_PX: Final = 360
_LINE_PX: Final = 16


def keys_of(bench: Bench, ledger: Ledger) -> dict[str, str]:
    """Give each victim's key, that of its model, and write down its card and first answers.

    Raises
    ------
    VictimGoneError
        It cannot be reached.
    VictimError
        It gave no usable answer about any of the films.
    ParameterError
        It answers otherwise than when its answers were kept by `remember`.
    """
    rows = ledger.rows()
    cards = {row["victim"]: row for row in rows if row["type"] == "card"}
    first = {
        (row["subject"], row["victim"]): row
        for row in rows
        if row["type"] == "answer" and row["kind"] == _REAL.kind and not row.get("again")
    }
    keys: dict[str, str] = {}
    to_ask: dict[str, Victim] = {}
    for name, victim in bench.victims.items():
        model = model_of(victim.card)
        before = cards.get(name, {})
        known = before.get("model") == model
        keys[name] = before["key"] if known else model
        if not known or victim.card.sha256 is None:
            to_ask[name] = victim
    found = _asked(bench, ledger, to_ask)
    for name, asked in found.items():
        same = cards.get(name, {}).get("key") == keys[name]
        if same and not all(_agrees(first.get((key, name)), said) for key, said in asked.items()):
            keys[name] = hashlib.sha256(f"after {keys[name]}".encode()).hexdigest()[:16]
        if asked and all(said.missing for said in asked.values()):
            why = next(iter(asked.values())).missing
            raise VictimError(
                f"The model {bench.victims[name].card.name} gave no usable answer about any of "
                f"{len(asked)} films before the first edit: {why}"
            )
    question = bench.plan.suite.question
    ledger.add([card_row(name, v, question, keys[name]) for name, v in bench.victims.items()])
    ledger.add(
        [
            {**answer_row(subject, name, _REAL, said), "key": keys[name]}
            for name, asked in found.items()
            for subject, said in asked.items()
        ]
    )
    return keys


def _asked(
    bench: Bench, ledger: Ledger, victims: Mapping[str, Victim]
) -> dict[str, dict[str, Asked]]:
    """Ask about the first, the middle and the last film; groups follow one another."""
    count, question = len(bench.plan.cohort), bench.plan.suite.question
    found: dict[str, dict[str, Asked]] = {name: {} for name in victims}
    seen: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in victims}
    for number in sorted({0, count // 2, count - 1}) if victims and count else ():
        subject = bench.plan.cohort.subject(number)
        ledger.add([about_row(subject, number, question, bench.maker.judge)])
        region = region_of(subject, question.region) if question.structure else None
        shown = Shown(_REAL, subject.film, to_display(subject.film))
        for name, victim in victims.items():
            said = ask(victim, shown, question, region, anew=True)
            found[name][subject.key] = said
            seen[name].append(_picture(victim, shown, said))
    with written_to("--out"):
        for name, pictures in seen.items():
            if pictures:
                _write(pictures, bench.plan.out / SENT / f"{file_name(name)}.png")
    return found


def _agrees(before: Row | None, now: Asked) -> bool:
    """Say whether an answer is the one from before, as far as there are both."""
    if before is None or now.again:
        return True
    if bool(now.missing) != ("missing" in before) or now.percent != before.get("percent", False):
        return False
    for was, value in ((before.get("scores", {}), now.scores), (before.get("measures", {}),
                       now.measures)):  # fmt: skip
        for label, number in value.items():
            other = was.get(label)
            if (number is None) != (other is None):
                return False
            if number is not None and other is not None and abs(number - other) > SAME:
                return False
    return True


def file_name(victim: str) -> str:
    """A file's name for a victim that may be a path or an address."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", victim).strip("-.")[-60:]
    return f"{plain}-{hashlib.sha256(victim.encode()).hexdigest()[:6]}"


def _picture(victim: Victim, shown: Shown, said: Asked) -> NDArray[np.uint8]:
    """Draw a film as it is displayed, beside it as the victim was given it, and what it said."""
    display, valid = facing(shown)
    given = getattr(victim, "given", None)
    pair = [display, display if given is None else given(display, valid)]
    scores = {**said.scores, **said.measures}
    text = said.missing or ", ".join(f"{k} {v:.3g}" for k, v in scores.items() if v is not None)
    sheet = Image.new("L", (2 * _SIDE_PX, _SIDE_PX + 2 * _LINE_PX), 0)
    draw = ImageDraw.Draw(sheet)
    for at, (image, title) in enumerate(zip(pair, ("the film", "as it was sent"), strict=True)):
        picture = Image.fromarray(np.uint8(np.clip(image, 0, 1) * 255))
        scale = _SIDE_PX / max(picture.size)
        fitted = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        sheet.paste(fitted, (at * _SIDE_PX, _LINE_PX))
        size = f"{image.shape[0]} x {image.shape[1]}"
        draw.text((at * _SIDE_PX + 4, 2), f"{title}, {size}", fill=255)
    draw.text((4, _SIDE_PX + _LINE_PX + 2), text[:110], fill=255)
    return np.asarray(sheet)


def _write(pictures: Sequence[NDArray[np.uint8]], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(pictures)).save(path)
