"""Answers that are kept: a run that was broken off goes on where its victim died.

Every answer is one file, written whole or not at all, under a name that follows from the
victim's card, the film's pixels and, for victims that look films up by it, the film's UID. An
answer that did not come is not kept, so that it is asked for again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radedit.lib.errors import ParameterError
from radedit.lib.victims.answers import same_answer
from radedit.lib.victims.protocol import Answer, Display, Mask, Victim, VictimCard
from radedit.lib.whole_files import replacing
from radedit_dicom.film import Film

_SCORES = "scores"
_SEGMENT = "segment "


class RememberingVictim:
    """A victim that is asked once about each film.

    Parameters
    ----------
    victim : asked when the answer is not kept
    folder : of the answers; made when the first is kept
    """

    def __init__(self, victim: Victim, folder: Path) -> None:
        self._victim, self._folder = victim, folder
        self._about = json.dumps(asdict(victim.card), sort_keys=True, default=str).encode()

    @property
    def card(self) -> VictimCard:
        """What is known of the victim."""
        return self._victim.card

    def answer(
        self, display: Display, valid: Mask | None = None, film: Film | None = None
    ) -> Answer:
        """Give the kept answer, or ask for it and keep it; see `protocol.Victim`."""
        path = self._folder / f"{self._name(display, valid, film)}.npz"
        if path.is_file():
            return _read(path)
        answer = self._victim.answer(display, valid, film)
        self._folder.mkdir(parents=True, exist_ok=True)
        _write(path, answer)
        return answer

    def asked_anew(
        self, display: Display, valid: Mask | None = None, film: Film | None = None
    ) -> Answer:
        """Ask, whatever is kept, and hold that against what is kept; as `answer` otherwise.

        Raises
        ------
        ParameterError
            It answers otherwise by now: it is another model behind the same description.
        """
        path = self._folder / f"{self._name(display, valid, film)}.npz"
        if not path.is_file():
            return self.answer(display, valid, film)
        answer = self._victim.answer(display, valid, film)
        if not same_answer(answer, _read(path)):
            raise ParameterError(
                f"The model {self.card.name} answers otherwise than when its answers were kept in "
                f"'{self._folder.name}'; give it another version in its file, or empty that folder."
            )
        return answer

    def _name(self, display: Display, valid: Mask | None, film: Film | None) -> str:
        said = hashlib.sha256(self._about)
        said.update(str(display.shape).encode() + np.ascontiguousarray(display).tobytes())
        said.update(b"all" if valid is None else np.packbits(valid).tobytes())
        said.update(b"" if film is None else film.sop_instance_uid.encode())
        return said.hexdigest()


def _write(path: Path, answer: Answer) -> None:
    scores = json.dumps(dict(answer.scores)).encode()
    held: dict[str, NDArray[Any]] = {_SCORES: np.frombuffer(scores, dtype=np.uint8)}
    held |= {_SEGMENT + label: mask for label, mask in (answer.segments or {}).items()}
    if answer.segments is not None and not answer.segments:
        held[_SEGMENT] = np.zeros(0, dtype=np.bool_)  # it segments, and found nothing
    with replacing(path) as stream:
        np.savez_compressed(stream, **held)  # type: ignore[arg-type]


def _read(path: Path) -> Answer:
    with np.load(path, allow_pickle=False) as held:
        scores = json.loads(held[_SCORES].tobytes())
        segments = {
            name.removeprefix(_SEGMENT): held[name] for name in held.files if name != _SCORES
        }
    return Answer(scores, {k: v for k, v in segments.items() if k} if segments else None)
