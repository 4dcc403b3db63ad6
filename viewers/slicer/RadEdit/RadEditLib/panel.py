"""The module's window: reads the widgets, calls the logic, says what happens.

Requests are made from Qt's own thread, each short; a running job is asked after by a timer.
Threads would not do: Slicer's Python gets no time of its own while the window waits for events.
"""

from __future__ import annotations

import os
import re
from typing import Any

import qt
import slicer

from .client import MAX_STUDIES, Client, FilmId, Job, ServerError, Study
from .logic import Drawn, EditError, Logic, drawn_segments
from .parameter import PREFIX, Parameter, remembered
from .views import side_by_side

POLL_MS = 500
POLL_TIMEOUT_S = 5.0
TOKEN_VARIABLE = "RADEDIT_SERVER_TOKEN"
DEFAULT_SERVER = "http://127.0.0.1:8000"
NO_MASK, DRAWN = "none", "drawn segments"
SERVERS_OWN = "server's default"
NUMBERS = {"steps": int, "skip": float, "guidance": float, "seed": int}
WORDS = ("method", "support")
_TO_QUOTE = re.compile(r'[\s"+,()~]')  # what ends a name of the mask language


class Panel:
    """Joins the widgets of RadEdit.ui to the logic.

    Parameters
    ----------
    ui : the widgets by name, as slicer.util.childWidgetVariables gives them
    scene : vtkMRMLScene
    settings : QSettings
    layout_manager : qSlicerLayoutManager; None = leave the views alone
    """

    def __init__(self, ui: Any, scene: Any, settings: Any, layout_manager: Any = None) -> None:
        self.ui, self.scene, self.settings = ui, scene, settings
        self.layout_manager = layout_manager
        self.logic: Logic | None = None
        self.job: Job | None = None
        self._original: Any = None
        self._studies: list[Study] = []
        self._films: list[FilmId] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._connect_widgets()
        self._fill_in()

    def close(self) -> None:
        """Stop asking after a job; the job itself goes on at the server."""
        self._timer.stop()
        self.job = None
        self._running(False)

    def on_connect(self, *_: Any) -> None:
        """Ask the server what it can do, and list its studies."""
        self._try(self._connect)

    def on_study(self, *_: Any) -> None:
        """List the films of the chosen study."""
        self._try(self._list_films)

    def on_load(self, *_: Any) -> None:
        """Put the chosen film into the scene."""
        self._try(self._load)

    def on_run(self, *_: Any) -> None:
        """Ask for the edit."""
        self._try(self._run)

    def on_cancel(self, *_: Any) -> None:
        """Cancel the job; what it has become is asked at the next turn of the timer."""
        self._try(self._cancel)

    def on_timer(self, *_: Any) -> None:
        """See how far the job is."""
        self._try(self._poll)

    def parameter(self) -> Parameter:
        """Read the edit from the widgets."""
        numbers: dict[str, Any] = {name: getattr(self.ui, name).value for name in NUMBERS}
        numbers |= {name: getattr(self.ui, name).currentText for name in WORDS}
        return Parameter(
            prompt=self.ui.prompt.currentText,
            edit_mask=_written(self.ui.editMask),
            keep_mask=_written(self.ui.keepMask),
            invert_prompt=self.ui.invertPrompt.text,
            edit_model="" if self.ui.model.currentIndex <= 0 else self.ui.model.currentText,
            study_mode="same" if self.ui.sameStudy.checked else "new",
            numbers=numbers,
        )

    def _connect_widgets(self) -> None:
        ui = self.ui
        ui.connectButton.clicked.connect(self.on_connect)
        ui.study.currentIndexChanged.connect(self.on_study)
        ui.loadButton.clicked.connect(self.on_load)
        ui.runButton.clicked.connect(self.on_run)
        ui.cancelButton.clicked.connect(self.on_cancel)
        self._timer.timeout.connect(self.on_timer)

    def _fill_in(self) -> None:
        ui = self.ui
        ui.server.setText(str(self.settings.value(PREFIX + "server", DEFAULT_SERVER)))
        ui.token.setText(os.environ.get(TOKEN_VARIABLE, ""))
        ui.editMask.addItems([DRAWN])
        ui.keepMask.addItems([NO_MASK, DRAWN])
        self._running(False)
        ui.runButton.setEnabled(False)
        self._say("Connect to a server first.")

    def _connect(self) -> None:
        client = Client(self.ui.server.text, self.ui.token.text)
        options = client.options()
        self._studies = client.studies()
        self.logic = Logic(self.scene, client)
        self.settings.setValue(PREFIX + "server", client.url)
        self._offer(options)
        _refill(self.ui.study, [study.title for study in self._studies])
        self._list_films()
        self.ui.runButton.setEnabled(True)
        first = "the first " if len(self._studies) == MAX_STUDIES else ""
        self._say(f"Connected; {first}{len(self._studies)} studies.")

    def _offer(self, options: dict[str, Any]) -> None:
        """Fill the lists, and bound the numbers, with what the server knows."""
        tasks = _mask_names(options.get("mask_tasks", []))
        _refill(self.ui.editMask, [DRAWN, *tasks])
        _refill(self.ui.keepMask, [NO_MASK, DRAWN, *tasks])
        _refill(self.ui.prompt, [str(p["text"]) for p in options.get("prompts", [])])
        kept = remembered(self.settings, {**NUMBERS, **dict.fromkeys(WORDS, str)})
        _refill(self.ui.model, [SERVERS_OWN, *options.get("models", [])], kept.edit_model)
        self.ui.sameStudy.setChecked(kept.study_mode == "same")
        for name, about in options["parameters"].items():
            widget = getattr(self.ui, name, None)
            if widget is None:
                continue
            widget.setToolTip(str(about.get("help", "")))
            if name in NUMBERS:
                _bound(widget, NUMBERS[name], about)
                widget.setValue(kept.numbers.get(name, NUMBERS[name](about["default"])))
            elif name in WORDS:
                default = str(about["default"])
                _refill(widget, list(about["choices"]), default, kept.numbers.get(name, default))

    def _list_films(self) -> None:
        index = self.ui.study.currentIndex
        chosen = 0 <= index < len(self._studies) and self.logic is not None
        self._films = self.logic.client.films(self._studies[index].uid) if chosen else []
        _refill(self.ui.film, [film.title for film in self._films])

    def _load(self) -> None:
        index = self.ui.film.currentIndex
        if self.logic is None or not 0 <= index < len(self._films):
            raise EditError("Connect, then choose a study that has a film.")
        volume = self.logic.load_film(self._films[index])
        self.ui.volume.setCurrentNode(volume)
        self._say("The film is loaded; draw a mask, or choose a task that finds one.")

    def _run(self) -> None:
        volume = self.ui.volume.currentNode()
        if self.logic is None or volume is None:
            raise EditError("Connect, and choose the film to edit.")
        parameter = self.parameter()
        edit = _drawn(self.ui.editMask, self.ui.editSegments)
        keep = _drawn(self.ui.keepMask, self.ui.keepSegments)
        if edit is None and not parameter.edit_mask:
            raise EditError("Choose the segments that may change, or a task that finds them.")
        self.job = self.logic.start(parameter, volume, edit, keep)
        self._original = volume
        parameter.remember(self.settings)
        self._running(True)
        self._timer.start()
        self._say("The edit waits for its turn.")

    def _cancel(self) -> None:
        if self.logic is None or self.job is None:
            return
        try:
            self.logic.client.cancel(self.job.id)
            self._say("Cancelling.")
        except ServerError as error:
            self.close()
            self._say(f"{error} The edit is not asked after any more; it may go on there.")

    def _poll(self) -> None:
        if self.logic is None or self.job is None:
            self._timer.stop()
            return
        client = Client(self.logic.client.url, self.ui.token.text, POLL_TIMEOUT_S)
        try:
            self.job = client.job(self.job.id)
        except ServerError as error:  # the job outlives a server that starts again
            self._say(f"{error} The edit is asked after again.")
            return
        self.ui.progress.setMaximum(max(self.job.total, 1))
        self.ui.progress.setValue(self.job.done)
        if not self.job.is_over:
            self._say(f"{self.job.stage or self.job.state}: {self.job.done} of {self.job.total}")
            return
        self._finish(self.job)

    def _finish(self, job: Job) -> None:
        self.close()
        if job.state == "cancelled":
            self._say("The edit was cancelled.")
            return
        shown = self.logic.show(job, self._original)
        if self.layout_manager is not None:
            side_by_side(self.scene, self.layout_manager, self._original, shown.volume)
        self._say(f"Done in {_seconds(job):.0f} s; synthetic, for research and QA only.")

    def _try(self, action: Any) -> None:
        """Do something a user asked for; what goes wrong is said in the window."""
        try:
            action()
        except (EditError, ServerError) as error:
            self._say(str(error))

    def _running(self, is_running: bool) -> None:
        self.ui.connectButton.setEnabled(not is_running)  # the job is asked after at this server
        self.ui.runButton.setEnabled(not is_running)
        self.ui.cancelButton.setEnabled(is_running)
        self.ui.progress.setVisible(is_running)

    def _say(self, text: str) -> None:
        self.ui.message.setText(text)


def _mask_names(tasks: list[dict[str, Any]]) -> list[str]:
    """Name each task's labels, and all of them together, in the server's mask language."""
    named = []
    for task in tasks:
        whole = str(task["name"])
        named += [whole, *(f"{whole}:{label}" for label in task.get("labels", []))]
    return [f'task:"{name}"' if _TO_QUOTE.search(name) else f"task:{name}" for name in named]


def _written(combo: Any) -> str:
    """Mask in the server's language, or "" for none and for drawn ones."""
    return "" if combo.currentText in (NO_MASK, DRAWN) else combo.currentText


def _drawn(combo: Any, selector: Any) -> Drawn | None:
    if combo.currentText != DRAWN:
        return None
    drawn = drawn_segments(selector.currentNode(), selector.selectedSegmentIDs())
    if drawn is None:
        raise EditError("Choose the drawn segments, or another kind of mask.")
    return drawn


def _refill(combo: Any, items: list[str], *chosen: str) -> None:
    """Give a list other items; the last of the chosen that is among them is shown."""
    blocked = combo.blockSignals(True)
    combo.clear()
    combo.addItems(items)
    for item in chosen:
        if item in items:
            combo.setCurrentText(item)
    combo.blockSignals(blocked)


def _bound(widget: Any, kind: type, about: dict[str, Any]) -> None:
    """Give a spin box the server's range, as far as Qt's 32 bits go."""
    low, high = about.get("minimum"), about.get("maximum")
    if low is not None and high is not None:
        widget.setRange(kind(low), kind(min(high, 2**31 - 1)))


def _seconds(job: Job) -> float:
    seconds = job.result.get("seconds", {})
    return float(sum(seconds.values()) if isinstance(seconds, dict) else seconds)


def resource(name: str) -> str:
    """Path of a file of the module's own Resources folder."""
    return os.path.join(os.path.dirname(os.path.dirname(__file__)), "Resources", name)


def make_panel(parent_layout: Any) -> Panel:
    """Build the window inside Slicer and put it into a layout."""
    window = slicer.util.loadUI(resource("UI/RadEdit.ui"))
    parent_layout.addWidget(window)
    window.setMRMLScene(slicer.mrmlScene)
    ui = slicer.util.childWidgetVariables(window)
    return Panel(ui, slicer.mrmlScene, qt.QSettings(), slicer.app.layoutManager())
