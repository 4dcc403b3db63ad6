"""Victims that run in this process: a Python callable, TorchScript, ONNX Runtime."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radedit.lib.errors import NotFoundError, ParameterError, RadEditError, VictimError
from radedit.lib.victims.about import About
from radedit.lib.victims.answers import sha256_of, usable_segments
from radedit.lib.victims.preprocessing import checked, described, to_film, to_input
from radedit.lib.victims.protocol import Answer, Display, Mask, VictimCard
from radedit.lib.victims.scores import usable_scores
from radedit_dicom.film import Film

#: float32 [1, channels, rows, columns] to the network's output, [1, n] or [1, n, rows, columns].
Network = Callable[[NDArray[np.float32]], NDArray[Any]]
#: A film's display and its valid pixels to label and score, or to a whole `Answer`.
Function = Callable[[Display, Mask | None], Mapping[str, float] | Answer]


@dataclass(frozen=True)
class NetworkVictim:
    """A network whose input is a tensor.

    Attributes
    ----------
    card : VictimCard
    about : what its input and outputs are
    network : runs it
    """

    card: VictimCard
    about: About
    network: Network

    def answer(
        self, display: Display, valid: Mask | None = None, film: Film | None = None
    ) -> Answer:
        """Ask about one film; see `protocol.Victim`."""
        given = to_input(display, valid, self.about.input)
        try:
            output = np.asarray(self.network(given), dtype=np.float32)
        except RadEditError:
            raise
        except Exception as error:  # a vendor's network may raise anything
            raise VictimError(
                f"The model {self.card.name} failed on a film ({type(error).__name__}); see that "
                "its input is what it was exported for."
            ) from error
        if self.about.task == "classify":
            return Answer(_scores(output, self.about))
        return Answer({}, self._segments(output, display.shape))

    def given(self, display: Display, valid: Mask | None = None) -> Display:
        """What the network is given of a film, black and white as 0 and 1: [rows, columns]."""
        wanted = self.about.input
        plane = to_input(display, valid, replace(wanted, mean=(), std=()))[0, 0]
        return np.asarray((plane - wanted.low) / (wanted.high - wanted.low), np.float32)

    def _segments(self, output: NDArray[np.float32], shape: tuple[int, ...]) -> dict[str, Mask]:
        labels = self.about.labels
        if output.ndim != 4 or output.shape[:2] != (1, len(labels)):
            raise _another(output, f"[1, {len(labels)}, rows, columns]")
        maps = [
            to_film(plane, (shape[0], shape[1]), self.about.input)
            for plane in _activated(output, self.about.activation)[0]
        ]
        if self.about.activation == "softmax":
            most = np.argmax(maps, axis=0)
            found = {label: most == i for i, label in enumerate(labels)}
        else:
            found = {
                label: np.asarray(plane >= self.card.threshold_of(label))
                for label, plane in zip(labels, maps, strict=True)
            }
        return {label: mask for label, mask in found.items() if label}


@dataclass(frozen=True)
class CallableVictim:
    """A Python function.

    Attributes
    ----------
    card : VictimCard
    about : for labels in our words
    function : asked with display and valid pixels
    """

    card: VictimCard
    about: About
    function: Function

    def answer(
        self, display: Display, valid: Mask | None = None, film: Film | None = None
    ) -> Answer:
        """Ask about one film; see `protocol.Victim`."""
        try:
            found = self.function(checked(display), valid)
        except RadEditError:
            raise
        except Exception as error:  # anybody's function may raise anything
            raise VictimError(
                f"The model {self.card.name} failed on a film ({type(error).__name__})."
            ) from error
        answer = found if isinstance(found, Answer) else Answer(dict(found))
        segments = answer.segments
        return Answer(
            usable_scores(self.about.renamed(answer.scores), self.about.unit)[0],
            None
            if segments is None
            else usable_segments(self.about.renamed(segments), display.shape),
        )


def load_callable(place: str, about: About) -> CallableVictim:
    """Make a victim of ``MODULE:FUNCTION``, which runs that module.

    Raises
    ------
    NotFoundError
        There is no such module, or no such function in it.
    """
    module, _, name = place.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise NotFoundError(
            f"there is no function {place}; write python:MODULE:FUNCTION of a module on the path."
        ) from error
    card = about.card(name, "the film as it is displayed, at its own size")
    return CallableVictim(card, about, function)


def load_onnx(path: Path, about: About) -> NetworkVictim:
    """Load an ONNX file of one input and one output into ONNX Runtime, on the CPU.

    Raises
    ------
    ParameterError
        There is no such file, it cannot be loaded, or the labels of its outputs are not told.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(_file(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an error of its own for each of its codes
        raise _not_loaded(path, error) from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ParameterError(f"'{path.name}' has {len(inputs)} inputs; export it with one.")
    if inputs[0].type != "tensor(float)":
        raise ParameterError(
            f"The model '{path.name}' takes {inputs[0].type}; export it with an input of float32, "
            "tensor(float)."
        )

    def run(given: NDArray[np.float32]) -> NDArray[Any]:
        return np.asarray(session.run(None, {inputs[0].name: given})[0])

    return _network_victim(path, about, run)


def load_torchscript(path: Path, about: About) -> NetworkVictim:
    """Load a TorchScript file, or one of torch.export (.pt2), on the CPU.

    Raises
    ------
    ParameterError
        As in `load_onnx`.
    """
    import torch

    file = _file(path)
    try:
        with warnings.catch_warnings():
            # Vendors hand over TorchScript for years to come, whatever torch says of it.
            warnings.simplefilter("ignore", DeprecationWarning)
            module: Any = (
                torch.export.load(file).module()
                if path.suffix == ".pt2"
                else torch.jit.load(file, map_location="cpu").eval()  # type: ignore[no-untyped-call]
            )
    except Exception as error:  # torch raises whatever comes
        raise _not_loaded(path, error) from error

    def run(given: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(given)).numpy())

    return _network_victim(path, about, run)


def _network_victim(path: Path, about: About, network: Network) -> NetworkVictim:
    if not about.labels:
        raise ParameterError(
            f"what the outputs of '{path.name}' mean is not told; write labels = [...] into "
            f"'{path.name}.toml'."
        )
    card = about.card(path.stem, described(about.input), sha256_of(path))
    return NetworkVictim(card, about, network)


def _scores(output: NDArray[np.float32], about: About) -> dict[str, float]:
    if output.size != len(about.labels) or output.ndim == 0:
        raise _another(output, f"[1, {len(about.labels)}]")
    flat = _activated(output.reshape(1, -1), about.activation)[0]
    named = zip(about.labels, flat.tolist(), strict=True)
    return usable_scores({label: value for label, value in named if label}, about.unit)[0]


def _activated(output: NDArray[np.float32], activation: str) -> NDArray[np.float32]:
    """Apply the activation; classes lie along axis 1."""
    if activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(output / 2)), dtype=np.float32)
    if activation == "softmax":
        raised = np.exp(output - output.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)
    return output


def _file(path: Path) -> str:
    if not path.is_file():
        raise ParameterError(f"there is no file '{path.name}'; check the path of the model.")
    return str(path)


def _not_loaded(path: Path, error: Exception) -> RadEditError:
    if isinstance(error, RadEditError):
        return error
    refused = re.search(r"Type 'tensor\((\w+)\)'", str(error))  # by ONNX Runtime, for an operator
    if refused:
        return ParameterError(
            f"The model '{path.name}' computes in {refused[1]}, which ONNX Runtime does not on a "
            "CPU; export it in float32."
        )
    return ParameterError(
        f"The model '{path.name}' cannot be loaded ({type(error).__name__}); export it anew."
    )


def _another(output: NDArray[Any], expected: str) -> VictimError:
    return VictimError(
        f"The model's output is {list(output.shape)}; expected {expected}, one for each of the "
        "labels in its TOML file."
    )
