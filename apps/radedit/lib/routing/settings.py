"""The actions of a route's file that only this side can judge: edits and stress suites."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from radedit.lib.errors import ParameterError, RadEditError
from radedit.lib.mask_names import EMBEDDED_LABELS, KnownNames
from radedit.lib.parameters import PARAMETERS, validate_parameters
from radedit.lib.settings import Settings, load_settings
from radedit_dicom.compression import SYNTAXES
from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.route import Route
from radedit_dicom.router.route_file import read_route
from radedit_dicom.router.rules import Action, Rule

_TEXTS = ("prompt", "edit_mask", "keep_mask", "invert_prompt", "film_text", "model")
_STRESS = ("suite", "victim", "labels", "at", "out")


def load_route(path: Path, settings: Settings | None = None) -> Route:
    """Read a route's file, with its edits checked as those of a command line are.

    Raises
    ------
    RouteError
        Anything in it is wrong.
    """
    route = read_route(path, checker(settings or load_settings()))
    based = [_based(rule, str(path.parent.resolve())) for rule in route.rules]
    return replace(route, rules=tuple(based))


def _based(rule: Rule, folder: str) -> Rule:
    """Tell stress actions what their paths are relative to."""
    actions = tuple(
        replace(each, settings={**each.settings, "base": folder}) if each.kind == "stress" else each
        for each in rule.actions
    )
    return replace(rule, actions=actions)


def checker(settings: Settings) -> Callable[[Action], None]:
    """Make what refuses an action that could not be done.

    Parameters
    ----------
    settings : Settings
        Its models and their defaults.
    """
    names = KnownNames(EMBEDDED_LABELS, (), settings.remotes)

    def check(action: Action) -> None:
        try:
            if action.kind == "edit":
                given = edit_fields(action.settings)
                defaults = settings.defaults_for(given.get("model"))
                validate_parameters(given["parameters"], defaults)
                for name in ("edit_mask", "keep_mask"):
                    names.check(given.get(name))
            elif action.kind == "stress":
                _check_stress(action.settings)
        except RadEditError as error:
            raise RouteError(
                f"In the route's file, an action of kind {action.kind}: {error}"
            ) from None

    return check


def edit_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of an edit action's `cases.EditRequest`, without what that imports.

    Parameters
    ----------
    given : mapping
        prompt, masks and so on as texts; the parameters of an edit; study, compress.

    Returns
    -------
    dict
        The texts that are given, and "parameters".

    Raises
    ------
    ParameterError
        A key is unknown, or a text is none.
    """
    unknown = set(given) - {*_TEXTS, *PARAMETERS, "study", "compress"}
    if unknown:
        raise ParameterError(f"There is no parameter '{sorted(unknown)[0]}' of an edit.")
    texts = {name: given[name] for name in _TEXTS if name in given}
    if not all(isinstance(text, str) for text in texts.values()) or not texts.get("prompt"):
        raise ParameterError("An edit needs a 'prompt', and masks and prompts must be texts.")
    if given.get("study", "new") not in ("new", "same"):
        raise ParameterError("study must be new or same.")
    if given.get("compress", "none") not in SYNTAXES:
        raise ParameterError(f"compress must be one of {', '.join(SYNTAXES)}.")
    parameters = {name: given[name] for name in PARAMETERS if name in given}
    return {**texts, "parameters": parameters}


def _check_stress(given: Mapping[str, Any]) -> None:
    if unknown := set(given) - set(_STRESS):
        raise ParameterError(f"There is no parameter '{sorted(unknown)[0]}' of a stress suite.")
    for name in _STRESS:
        if not isinstance(given.get(name, ""), str):
            raise ParameterError(f"'{name}' must be a text.")
    for name in ("suite", "out"):
        if not given.get(name):
            raise ParameterError(f"A stress suite needs '{name}'.")
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", given.get("at", "00:00")):
        raise ParameterError("'at' must be a time like 06:00.")
