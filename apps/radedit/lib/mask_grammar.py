"""The mask grammar: one line of text names a region of a film.

    expression := term (("+" | "-") term)*           union, difference; left to right
    term       := "~" term | "(" expression ")" | "dilate(" expression "," amount ")" | source
    amount     := number ["px" | "mm"]               px unless told
    source     := "box:x0,y0,x1,y1"                  edges in film pixels, x to the right
                | "ellipse:cx,cy,rx,ry"              centre and half axes in film pixels
                | "task:NAME[:LABEL]"                an infer task of this server
                | "remote:URL/NAME[:LABEL]"          a task of another MONAI Label server that
                                                     the setting remote_servers lists
                | "seg:LABEL-or-code[@UID]"          a SEG of the film in the archive; the UID
                                                     of its series or its own tells several apart,
                                                     its own also finds it in another study
                | "file:PATH"                        PNG, NIfTI, NRRD or DICOM SEG
                | "uploaded:NAME"                    a mask that came with the request

A name or path with blanks or operators in it is written in double quotes: `file:"a + b.png"`.
A bare path may hold "-", so write blanks around the operators that follow one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from radedit.lib.errors import MaskError

MAX_LENGTH = 2000  # characters; far more than anybody writes, and parsing recurses
MAX_DEPTH = 50
_NUMBER = r"-?\d+(?:\.\d+)?"
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<dilate>dilate\s*\()
    | (?P<shape>(?:box|ellipse):{_NUMBER}(?:\s*,\s*{_NUMBER}){{0,3}})
    | (?P<source>(?:task|remote|seg|file|uploaded):(?:"[^"]+"|[^\s"+,()~]+))
    | (?P<amount>{_NUMBER}\s*(?:px|mm)?)
    | (?P<sign>[-+~(),])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Box:
    """A rectangle between edges, in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Ellipse:
    """An upright ellipse, in pixels."""

    cx: float
    cy: float
    rx: float
    ry: float


@dataclass(frozen=True)
class Source:
    """A mask that something else provides."""

    kind: str
    name: str


@dataclass(frozen=True)
class Union:
    """Inside either."""

    left: Node
    right: Node


@dataclass(frozen=True)
class Difference:
    """Inside the left one only."""

    left: Node
    right: Node


@dataclass(frozen=True)
class Inverse:
    """Outside."""

    inner: Node


@dataclass(frozen=True)
class Dilated:
    """Everything nearer than `amount` to the inner mask."""

    inner: Node
    amount: float
    unit: str


Node = Box | Ellipse | Source | Union | Difference | Inverse | Dilated


def parse(text: str) -> Node:
    """Parse a mask expression.

    Raises
    ------
    MaskError
        The text is not an expression; the sentence says where it stops making sense.
    """
    if len(text) > MAX_LENGTH:
        raise MaskError(
            f"the mask expression has {len(text)} characters and {MAX_LENGTH} are the limit; "
            "draw the mask into a file instead."
        )
    return _Parser(text).whole()


def sources_of(node: Node) -> Iterator[Source]:
    """Give every mask of an expression that something else provides."""
    match node:
        case Source():
            yield node
        case Union(left, right) | Difference(left, right):
            yield from sources_of(left)
            yield from sources_of(right)
        case Inverse(inner) | Dilated(inner, _, _):
            yield from sources_of(inner)


def size_of(node: Node) -> int:
    """Count the masks that are drawn to draw an expression, with those of its parts."""
    match node:
        case Union(left, right) | Difference(left, right):
            return 1 + size_of(left) + size_of(right)
        case Inverse(inner) | Dilated(inner, _, _):
            return 1 + size_of(inner)
    return 1


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.kind, self.value = "", ""
        self._next()

    def whole(self) -> Node:
        node = self._expression()
        if self.kind:
            raise self._unexpected("the end")
        return node

    def _next(self) -> None:
        self.start = self.at
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            if self.text[self.at :].strip():
                self.kind, self.value = "unknown", self.text[self.at :].strip()
                return
            self.kind, self.value = "", ""
            return
        self.at = found.end()
        self.kind, self.value = str(found.lastgroup), found[0].strip()

    def _unexpected(self, wanted: str) -> MaskError:
        found = f"'{self.value}' at character {self.start + 1}" if self.kind else "its end"
        return MaskError(
            f"the mask expression breaks at {found}: expected {wanted}; write for example "
            "'ellipse:900,700,120,90 - box:0,0,300,300' or 'dilate(task:lung_segmentation:left,5)'."
        )

    def _expression(self) -> Node:
        node = self._term()
        while True:
            if self.kind == "sign" and self.value in "+-":
                operator = self.value
                self._next()
            elif self.kind in ("amount", "shape") and self.value.startswith("-"):
                raise self._unexpected("an operator with blanks around it")
            else:
                return node
            right = self._term()
            node = Union(node, right) if operator == "+" else Difference(node, right)

    def _term(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise MaskError(f"the mask expression is nested more than {MAX_DEPTH} deep; simplify.")
        node = self._simple()
        self.depth -= 1
        return node

    def _simple(self) -> Node:
        kind, value = self.kind, self.value
        if kind == "sign" and value == "~":
            self._next()
            return Inverse(self._term())
        if kind == "sign" and value == "(":
            self._next()
            node = self._expression()
            self._take("sign", ")")
            return node
        if kind == "dilate":
            return self._dilated()
        if kind == "shape":
            node = self._shape(value)
            self._next()
            return node
        if kind == "source":
            prefix, name = value.split(":", 1)
            self._next()
            return Source(prefix, name.strip('"'))
        raise self._unexpected("a mask (box:, ellipse:, task:, remote:, seg:, file:)")

    def _dilated(self) -> Node:
        self._next()
        node = self._expression()
        self._take("sign", ",")
        if self.kind != "amount":
            raise self._unexpected("a distance such as 5, 5px or 2.5mm")
        number = re.match(_NUMBER, self.value)
        assert number is not None  # the token matched this very pattern
        unit = self.value[number.end() :].strip() or "px"
        amount = float(number[0])
        if amount < 0:
            raise MaskError("a mask can only grow by a distance of 0 or more.")
        self._next()
        self._take("sign", ")")
        return Dilated(node, amount, unit)

    def _shape(self, value: str) -> Node:
        name, numbers = value.split(":")
        sizes = [float(n) for n in numbers.split(",")]
        if len(sizes) != 4:
            raise MaskError(f"{name}: takes four numbers, found {len(sizes)} in '{value}'.")
        a, b, c, d = sizes
        if name == "box":
            if c <= a or d <= b:
                raise MaskError(f"'{value}' is empty: box:x0,y0,x1,y1 needs x1 > x0 and y1 > y0.")
            return Box(a, b, c, d)
        if c <= 0 or d <= 0:
            raise MaskError(f"'{value}' is empty: ellipse:cx,cy,rx,ry needs rx > 0 and ry > 0.")
        return Ellipse(a, b, c, d)

    def _take(self, kind: str, value: str) -> None:
        if (self.kind, self.value) != (kind, value):
            raise self._unexpected(f"'{value}'")
        self._next()
