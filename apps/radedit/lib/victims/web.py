"""A victim behind HTTP: a film goes there as JSON or as a form, scores and segments come back."""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import requests
import urllib3
from PIL import Image

from radedit.lib.errors import ParameterError, VictimError, VictimGoneError, VictimPassingError
from radedit.lib.victims.about import About
from radedit.lib.victims.asking import asked
from radedit.lib.victims.preprocessing import described, to_film, to_input
from radedit.lib.victims.protocol import Answer, Display, Mask, VictimCard
from radedit.lib.victims.remote_films import SENT_DICOM, as_displayed, object_of, png
from radedit.lib.victims.scores import labelled, usable_scores
from radedit_dicom.film import Film
from radedit_dicom.readback import part10

_HALF: Final = 0.5
_CHUNK: Final = 64 * 2**10
_SHOWN: Final = 200  # characters of an error's text
_BUSY: Final = (429, 502, 503, 504)  # what servers and their proxies say while they start or stop


@dataclass(frozen=True)
class HttpVictim:
    """A server that is asked for each film.

    Attributes
    ----------
    card : VictimCard
    url : where films are posted to
    about : how it wants to be asked
    """

    card: VictimCard
    url: str
    about: About

    def answer(
        self, display: Display, valid: Mask | None = None, film: Film | None = None
    ) -> Answer:
        """Ask about one film; see `protocol.Victim`."""
        form, is_png = self.about.http, self.about.http.content == "png"
        if is_png:
            sent = self.given(display, valid)
            content, shape = png(sent, form.bits, self.about.input.channels), sent.shape
        else:
            content, shape = part10(object_of(display, film)), display.shape
        found = asked(self.about.limits, lambda: self._posted(content))
        scores = _at(found, form.scores)
        segments = _at(found, form.segments)
        if scores is None and segments is None:
            raise VictimError(
                f"The model's JSON holds neither {form.scores} nor {form.segments}; say in its "
                "TOML file where its answer is."
            )
        masks = self._segments(segments, shape, display.shape)
        if masks is not None and not is_png:
            masks = as_displayed(masks, film)
        given = {} if scores is None else labelled(scores, self.about.labels)
        usable, assumed = usable_scores(self.about.renamed(given), self.about.unit, True)
        return Answer(usable, masks, assumed)

    def given(self, display: Display, valid: Mask | None = None) -> Display:
        """Make the picture that is sent of a film: float32 [rows, columns], 0 to 1."""
        if self.about.http.content == "dicom":
            return display
        return np.asarray(to_input(display, valid, self.about.input)[0, 0])

    def _segments(
        self, segments: Any, sent: tuple[int, ...], shape: tuple[int, ...]
    ) -> dict[str, Mask] | None:
        """Read segments of the picture that was sent, and bring them to the film's pixels."""
        if segments is None:
            return None
        if not isinstance(segments, dict):
            raise VictimError("The model's segments are no object of label to PNG.")
        masks = {str(label): _mask(text, sent) for label, text in segments.items()}
        if sent != shape:
            rows, cols = shape
            masks = {
                label: to_film(mask.astype(np.float32), (rows, cols), self.about.input) >= _HALF
                for label, mask in masks.items()
            }
        return self.about.renamed(masks)

    def _posted(self, content: bytes) -> Any:
        form, limits = self.about.http, self.about.limits
        sent: dict[str, Any] = {"headers": _headers(form.token_variable)}
        if form.body == "json":
            sent["json"] = {form.field: base64.b64encode(content).decode()}
        else:
            kind = "image/png" if form.content == "png" else "application/dicom"
            sent["files"] = {form.field: (f"film.{form.content[:3]}", content, kind)}
        try:
            with requests.post(
                self.url, timeout=limits.timeout_s, allow_redirects=False, stream=True, **sent
            ) as response:
                if response.status_code in _BUSY:
                    raise VictimGoneError(
                        f"The model answers {response.status_code}; see that it runs."
                    )
                if response.status_code != requests.codes.ok:
                    raise _refusal(response, self.about)
                return _json(_body(response, self.about))
        except (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as error:
            raise _too_slow(self.about) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise VictimGoneError(
                f"The model cannot be reached or broke off ({type(error).__name__}); see that it "
                "runs at the address."
            ) from error


def open_http(url: str, about: About) -> HttpVictim:
    """Make a victim of an address; nothing is asked of it yet.

    Raises
    ------
    ParameterError
        The address is none, holds a password, or the token's variable is not set.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ParameterError("The model's address must be http(s)://HOST[:PORT]/PATH.")
    _headers(about.http.token_variable)
    given = about.input
    plain = replace(given, low=0.0, high=1.0, mean=(), std=())
    levels = (given.channels, about.http.bits)
    if given != plain or levels not in ((1, 8), (1, 16), (3, 8)):
        raise ParameterError(
            "A picture that is sent has one grey channel, or three of 8 bits; leave low, high, "
            "mean and std out of [input], and write channels = 3 with bits = 8 alone."
        )
    picture = f"{described(given)}, as a PNG of {about.http.bits} bits"
    said = picture if about.http.content == "png" else SENT_DICOM
    return HttpVictim(about.card(parts.hostname, said), url, about)


def _headers(variable: str) -> dict[str, str]:
    if not variable:
        return {}
    token = os.environ.get(variable, "")
    if not token:
        raise ParameterError(f"the variable {variable} holds no token for the model; set it.")
    return {"Authorization": f"Bearer {token}"}


def _body(response: requests.Response, about: About) -> bytes:
    """Read what comes as it comes, so that bytes that trickle cannot pass the limits."""
    end = time.monotonic() + about.limits.timeout_s
    body = bytearray()
    for chunk in response.iter_content(_CHUNK):
        body += chunk
        if len(body) > about.limits.max_mb * 2**20:
            raise VictimError(f"The model's answer is larger than {about.limits.max_mb} MiB.")
        if time.monotonic() > end:
            raise _too_slow(about)
    return bytes(body)


def _refusal(response: requests.Response, about: About) -> VictimError:
    """Say what it answered; 5xx and 408 may go better another time, others not."""
    passing = response.status_code >= 500 or response.status_code == requests.codes.timeout
    text = _readable(_body(response, about))
    said = f', and said "{text}"' if text else ""
    kind = VictimPassingError if passing else VictimError
    return kind(f"The model answered {response.status_code} to a film{said}; its log says why.")


def _readable(body: bytes) -> str:
    """The start of an error's text on one line, as far as it can be printed."""
    text = body[: 4 * _SHOWN].decode("utf-8", "replace")
    plain = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    plain = "".join(c for c in plain if c.isprintable())
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}..."


def _too_slow(about: About) -> VictimError:
    sentence = f"The model gave no answer within {about.limits.timeout_s:g} s."
    return VictimPassingError(sentence, at_once=False)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise VictimError("The model's answer is no JSON.") from error


def _at(found: Any, keys: str) -> Any:
    for key in keys.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def _mask(text: Any, shape: tuple[int, ...]) -> Mask:
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as png:
            if (png.height, png.width) != shape:
                raise VictimError("The model's segment is of another size than the film.")
            return np.asarray(np.asarray(png.convert("L")) != 0)
    except (OSError, SyntaxError, TypeError, ValueError, binascii.Error) as error:
        raise VictimError("The model's segment is no PNG in base64.") from error
