"""Tables of a TOML file, read strictly: every key is known and every value of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from radedit_dicom.router.errors import RouteError


class Table:
    """One table; what was asked for is ticked off, and `done` refuses what is left.

    Parameters
    ----------
    values : object
        As tomllib gave it.
    where : str
        For errors: "destinations.pacs".

    Raises
    ------
    RouteError
        It is no table. So does every other method, for a value of another kind.
    """

    def __init__(self, values: Any, where: str) -> None:
        self.where = where
        if not isinstance(values, Mapping):
            self.refuse("must be a table")
        self._left = dict(values)

    def refuse(self, words: str) -> NoReturn:
        """Refuse the file on account of this table."""
        raise RouteError(f"In the route's file, {self.where} {words}.")

    def has(self, key: str) -> bool:
        """Tell whether a key is given, and not yet asked for."""
        return key in self._left

    def text(self, key: str, default: str | None = None) -> str:
        """Give a text; without a default it is required, and then not empty."""
        value = self._take(key, default)
        if not isinstance(value, str) or (default is None and not value):
            self.refuse(f"needs a text for '{key}'")
        return value

    def number(self, key: str, default: float, low: float = 0.0, high: float = 1e12) -> float:
        """Give a number between bounds, both allowed."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(f"needs a number for '{key}'")
        if not low <= value <= high:
            self.refuse(f"needs a '{key}' between {low:g} and {high:g}")
        return float(value)

    def whole(self, key: str, default: int, low: int = 0, high: int = 1 << 40) -> int:
        """Give a whole number between bounds, both allowed."""
        value = self.number(key, default, low, high)
        if value != int(value):
            self.refuse(f"needs a whole number for '{key}'")
        return int(value)

    def flag(self, key: str, default: bool | None) -> bool | None:
        """Give true or false."""
        value = self._take(key, default)
        if not isinstance(value, bool) and value is not None:
            self.refuse(f"needs true or false for '{key}'")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Give a list of texts; a text alone is a list of one."""
        value = self._take(key, [])
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            self.refuse(f"needs a list of texts for '{key}'")
        return tuple(found)

    def tables(self, key: str) -> list[Table]:
        """Give a list of tables."""
        value = self._take(key, [])
        if not isinstance(value, list):
            self.refuse(f"needs a list of tables for '{key}'")
        return [Table(each, f"{self.where}.{key}[{n}]") for n, each in enumerate(value, 1)]

    def table(self, key: str) -> Table:
        """Give a table inside; an empty one where there is none."""
        return Table(self._take(key, {}), f"{self.where}.{key}" if self.where else key)

    def path(self, key: str, base: Path) -> Path | None:
        """Give a path, relative to the folder of the file; None where there is none."""
        text = self.text(key, "")
        return (base / Path(text).expanduser()).resolve() if text else None

    def raw(self, key: str) -> Any:
        """Give a value of any kind."""
        return self._take(key, None)

    def keys(self) -> list[str]:
        """List the keys that were not asked for yet."""
        return list(self._left)

    def rest(self) -> dict[str, Any]:
        """Give everything that was not asked for yet."""
        left, self._left = self._left, {}
        return left

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        if self._left:
            self.refuse(f"has an unknown key '{sorted(self._left)[0]}'; see docs/routing.md")

    def _take(self, key: str, default: Any) -> Any:
        if key not in self._left and default is None:
            return None
        return self._left.pop(key, default)
