"""Stand-ins for the few Qt widgets that the window uses, made from RadEdit.ui itself.

Slicer's Python package has no Qt. These keep state and signals as PythonQt shows them, so that
a test can do what a user does; a name that is not in the .ui file is an error, as in Slicer.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

UI = Path(__file__).resolve().parents[2] / "Resources" / "UI" / "RadEdit.ui"


class Signal:
    """Calls what was connected to it."""

    def __init__(self) -> None:
        self._slots: list[Callable[..., Any]] = []

    def connect(self, slot: Callable[..., Any]) -> None:
        self._slots.append(slot)

    def emit(self, *values: Any) -> None:
        for slot in self._slots:
            slot(*values)


class Widget:
    """What all widgets have."""

    def __init__(self) -> None:
        self.enabled, self.visible, self.toolTip = True, True, ""
        self.blocked = False

    def setEnabled(self, enabled: bool) -> None:
        self.enabled = enabled

    def setVisible(self, visible: bool) -> None:
        self.visible = visible

    def setToolTip(self, text: str) -> None:
        self.toolTip = text

    def blockSignals(self, blocked: bool) -> bool:
        before, self.blocked = self.blocked, blocked
        return before


class Text(Widget):
    """QLineEdit and QLabel."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def setText(self, text: str) -> None:
        assert isinstance(text, str)
        self.text = text


class Button(Widget):
    """QPushButton and QCheckBox."""

    def __init__(self) -> None:
        super().__init__()
        self.clicked, self.checked = Signal(), False

    def setChecked(self, checked: bool) -> None:
        self.checked = checked

    def click(self) -> None:
        assert self.enabled, "a user cannot press a button that is not enabled"
        self.clicked.emit(False)


class ComboBox(Widget):
    """QComboBox; an editable one takes any text."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[str] = []
        self.currentIndex, self.currentText = -1, ""
        self.currentIndexChanged = Signal()

    def clear(self) -> None:
        self.items, self.currentIndex, self.currentText = [], -1, ""

    def addItems(self, items: list[str]) -> None:
        assert all(isinstance(item, str) for item in items)
        self.items += items
        if self.currentIndex < 0 and self.items:
            self.setCurrentText(self.items[0])

    def setCurrentText(self, text: str) -> None:
        self.currentText = text
        if text in self.items:
            self.choose(self.items.index(text))

    def choose(self, index: int) -> None:
        """Do what a user does, who can tell items of the same text apart."""
        self.currentIndex, self.currentText = index, self.items[index]
        if not self.blocked:
            self.currentIndexChanged.emit(index)


class Number(Widget):
    """QSpinBox, QDoubleSpinBox and QProgressBar."""

    def __init__(self) -> None:
        super().__init__()
        self.value: float = 0
        self.minimum: float = 0
        self.maximum: float = 100

    def setRange(self, low: float, high: float) -> None:
        self.minimum, self.maximum = low, high

    def setMaximum(self, high: float) -> None:
        self.maximum = high

    def setValue(self, value: float) -> None:
        self.value = min(max(value, self.minimum), self.maximum)


class NodeSelector(Widget):
    """qMRMLNodeComboBox and qMRMLSegmentSelectorWidget."""

    def __init__(self) -> None:
        super().__init__()
        self._node: Any = None
        self.chosen: tuple[str, ...] = ()

    def currentNode(self) -> Any:
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        self._node = node

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        return self.chosen


class QTimer:
    """Runs when the test says so."""

    def __init__(self) -> None:
        self.timeout, self.active = Signal(), False

    def setInterval(self, ms: int) -> None:
        assert ms > 0

    def start(self) -> None:
        self.active = True

    def stop(self) -> None:
        self.active = False


class Settings(dict[str, Any]):
    """QSettings that last as long as the test."""

    def value(self, key: str, default: Any = None) -> Any:
        return self.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        self[key] = value


CLASSES: dict[str, type[Widget]] = {
    "QLineEdit": Text,
    "QLabel": Text,
    "QPushButton": Button,
    "QCheckBox": Button,
    "QComboBox": ComboBox,
    "QSpinBox": Number,
    "QDoubleSpinBox": Number,
    "QProgressBar": Number,
    "qMRMLNodeComboBox": NodeSelector,
    "qMRMLSegmentSelectorWidget": NodeSelector,
}


def load_ui(path: Path = UI) -> SimpleNamespace:
    """Make the widgets of a .ui file by name; containers are left out."""
    found = ElementTree.parse(path).iter("widget")
    return SimpleNamespace(
        **{w.attrib["name"]: CLASSES[c]() for w in found if (c := w.attrib["class"]) in CLASSES}
    )


class ScriptedBase:
    """Slicer's bases of a module, its widget and its test, as far as ours use them."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.layout = parent

    def setup(self) -> None:
        pass


def install() -> None:
    """Let `import qt` and Slicer's modules that need Qt be imported where there is none."""
    try:
        import qt  # noqa: F401
    except ImportError:
        bases = ("", "Widget", "Test")
        made = {
            "qt": {"QTimer": QTimer, "QSettings": Settings},
            "slicer.i18n": {"tr": str},
            "slicer.ScriptedLoadableModule": {
                f"ScriptedLoadableModule{base}": type(base or "Module", (ScriptedBase,), {})
                for base in bases
            },
        }
        for name, held in made.items():
            sys.modules[name] = ModuleType(name)
            vars(sys.modules[name]).update(held)


install()
