"""How a caller follows an edit: hears of its steps, stops it, and goes on with it later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from radedit.lib.errors import RadEditError

Item = TypeVar("Item")

Denoise = Callable[[Tensor, int, Tensor], Tensor]
"""eps = denoise(x_t [R, C, h, w], t, context [R, L, D]); rows are independent."""

DenoiseRows = Callable[[Tensor, int | Tensor, Tensor], Tensor]
"""A `Denoise` that also takes a timestep for each row, long [R]."""


class EditCancelledError(RadEditError):
    """The caller's `cancelled` hook asked the edit to stop."""


@dataclass(frozen=True)
class Resume:
    """Where an edit that was interrupted goes on.

    Attributes
    ----------
    done : int
        Steps that were finished, 0 to S.
    delta : float32 [N, C, h, w], 2C with a second-order schedule
        What `Hooks.stepped` was given after the last of them, of the same batch.
    """

    done: int
    delta: Tensor


@dataclass(frozen=True)
class Hooks:
    """What the caller wants to hear about.

    Attributes
    ----------
    progress : callable(done, total), optional
        Called after every step.
    cancelled : callable() -> bool, optional
        Asked before every step; True ends the edit with `EditCancelledError`.
    inverted : callable(index, e_inv), optional
        Given e_inv [N, C, h, w] of every step, to be kept for the next edit.
    stepped : callable(done, delta), optional
        Given `Resume.delta` after every step, to be kept; it may raise.
    """

    progress: Callable[[int, int], None] | None = None
    cancelled: Callable[[], bool] | None = None
    inverted: Callable[[int, Tensor], None] | None = None
    stepped: Callable[[int, Tensor], None] | None = None


@dataclass(frozen=True)
class Course:
    """An edit as its caller follows it: what to tell, and where to go on."""

    hooks: Hooks = Hooks()
    resume: Resume | None = None

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """Give one item after the other, as long as the edit is not cancelled.

        Raises
        ------
        EditCancelledError
            `Hooks.cancelled` returned True.
        """
        for item in items:
            check(self.hooks)
            yield item


def stoppable(denoise: DenoiseRows, hooks: Hooks) -> DenoiseRows:
    """Give a denoiser that raises `EditCancelledError` once `hooks.cancelled` says so."""

    def ask_first(x_t: Tensor, t: int | Tensor, context: Tensor) -> Tensor:
        check(hooks)
        return denoise(x_t, t, context)

    return ask_first


def check(hooks: Hooks, done: int | None = None) -> None:
    """Raise `EditCancelledError` once `hooks.cancelled` says so; `done` steps were finished."""
    if hooks.cancelled is not None and hooks.cancelled():
        after = "" if done is None else f" after {done} steps"
        raise EditCancelledError(f"The edit was cancelled{after}.")


def tell(hooks: Hooks, done: int, total: int) -> None:
    """Report a finished step, and stop before the next one if the caller wants to.

    Raises
    ------
    EditCancelledError
        `hooks.cancelled` returned True.
    """
    if hooks.progress is not None:
        hooks.progress(done, total)
    if done < total:
        check(hooks, done)


def finite(delta: Tensor) -> Tensor:
    """Give the difference back if every value is finite.

    Raises
    ------
    RadEditError
        It is not.
    """
    if not bool(torch.isfinite(delta).all()):
        raise RadEditError(
            "The edit diverged to values that are not finite; lower the guidance or run the "
            "model in float32."
        )
    return delta
