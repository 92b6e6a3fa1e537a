"""What a person sees while a run goes on: a bar in a terminal, a line every so often elsewhere."""

import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from xmjax.data.source import named

EVERY_SECONDS = 10.0
"""Between lines where there is no terminal."""


class Progress:
    """Shows step, loss, rates, share of time spent waiting for data, and time left."""

    def __init__(self, steps: int, done: int, enabled: bool = True):
        self._steps, self._start, self._enabled = steps, done, enabled
        self._bar: Bar | None = None
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> "Progress":
        if self._enabled and self._start == self._steps:
            print(f"step {self._start} of {self._steps}: finished before, nothing is left to train", flush=True)
        elif self._enabled and sys.stdout.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                console=Console(), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("compiling", total=self._steps, completed=self._start)
            self._bar.start()
        elif self._enabled:
            print(f"step {self._start} of {self._steps}: compiling", flush=True)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the newest metrics."""
        if not self._enabled:
            return
        text = describe(values)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
            return
        now = time.monotonic()
        if now - self._printed < EVERY_SECONDS and step < self._steps:
            return
        self._printed = now
        left = values["perf/step_seconds"] * (self._steps - step) if "perf/step_seconds" in values else None
        remaining = "" if left is None else f"  {duration(left)} left"
        print(f"step {step} of {self._steps}  {text}{remaining}", flush=True)

    def warn(self, step: int, text: str) -> None:
        """Says what looks wrong."""
        if self._enabled:
            (self._bar.console.print if self._bar is not None else print)(f"warning, step {step}: {text}")

    def unreadable(self, name: str, reasons: Mapping[str, str]) -> None:
        """Names the records of a source that could not be read and were replaced."""
        if self._enabled and reasons:
            print(f"{len(reasons)} unreadable of {name}, replaced by others: {named(reasons)}", flush=True)


def describe(values: Mapping[str, float]) -> str:
    """The numbers of one line."""
    parts = [f"loss {values['loss']:.3f}"]
    if "perf/step_seconds" in values:
        parts += [
            f"{values['perf/examples_per_second']:.0f} examples/s",
            f"{values['perf/bytes_per_second'] / 1e6:.2f} MB/s",
            f"data wait {values['perf/data_wait_share']:.0%}",
        ]
    if "perf/mfu" in values:
        parts.append(f"MFU {values['perf/mfu']:.0%}")
    if values.get("guard/skipped"):
        parts.append(f"skipped {values['guard/skipped']:.0f}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
