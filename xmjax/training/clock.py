"""Where wall time goes. Every moment of a run is in exactly one bucket, so that the buckets sum to the wall time."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

BUCKETS = ("init", "compile", "data_wait", "step", "evaluation", "checkpoint", "lost")
"""Setting up; compiling; waiting for the loader; everything else of the loop; evaluating; blocking on a checkpoint;
work that a kill threw away."""


class Clock:
    """Seconds by bucket, carried from run to run through the checkpoint."""

    def __init__(self, seconds: Mapping[str, float] | None = None):
        self._seconds = {bucket: float((seconds or {}).get(bucket, 0)) for bucket in BUCKETS}
        self._bucket = "init"
        self._since = time.perf_counter()

    def switch(self, bucket: str) -> str:
        """Goes on in ``bucket``; returns the one it was in."""
        now = time.perf_counter()
        self._seconds[self._bucket] += now - self._since
        self._since, before, self._bucket = now, self._bucket, bucket
        return before

    @contextmanager
    def of(self, bucket: str) -> Iterator[None]:
        """What happens inside belongs to ``bucket``."""
        before = self.switch(bucket)
        try:
            yield
        finally:
            self.switch(before)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Takes over the buckets of an earlier run."""
        for bucket, value in seconds.items():
            self._seconds[bucket] += value

    def seconds(self) -> dict[str, float]:
        """Seconds by bucket up to now."""
        self.switch(self._bucket)
        return dict(self._seconds)

    def metrics(self) -> dict[str, float]:
        """Buckets, total, and goodput: the share of all time in which the model was trained."""
        seconds = self.seconds()
        total = sum(seconds.values())
        return {f"goodput/{b}_seconds": s for b, s in seconds.items()} | {
            "goodput/total_seconds": total,
            "goodput/share": seconds["step"] / total if total else 0.0,
        }
