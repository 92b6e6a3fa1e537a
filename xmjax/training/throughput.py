"""How fast a run goes: step time, examples and bytes a second, operations and utilisation."""

from collections.abc import Mapping
from typing import Any

import jax

from xmjax.config import Config
from xmjax.data.pipeline import Stream
from xmjax.objectives import Objective
from xmjax.training import flops
from xmjax.training.clock import Clock


class Throughput:
    """Rates since the last line of metrics."""

    def __init__(self, config: Config, objectives: Mapping[str, Objective], streams: Mapping[str, Stream]):
        self._config = config
        self._objectives = objectives
        self._streams = streams
        self._steps = 0
        self._last: dict[str, float] | None = None

    def step(self) -> None:
        """Counts an update."""
        self._steps += 1

    def metrics(self, values: Mapping[str, float], clock: Clock) -> dict[str, float]:
        """Rates over the steps since the last call, none on the first, which has the compilation in it."""
        now, last, steps = clock.seconds(), self._last, self._steps
        self._last, self._steps = now, 0
        if last is None or not steps:
            return {}
        waited, stepped = (now[b] - last[b] for b in ("data_wait", "step"))
        seconds = (waited + stepped) / steps
        rows = self._config.batch_size
        share = 1 - max((v for k, v in values.items() if k.endswith("/padding")), default=0.0)
        operations = rows * flops.total(o.flops(share) for o in self._objectives.values())
        utilisation = flops.utilisation(operations / seconds)
        return {
            "perf/step_seconds": seconds,
            "perf/data_wait_share": waited / (waited + stepped),
            "perf/examples_per_second": rows / seconds,
            "perf/bytes_per_second": rows * self._bytes(share) / seconds,
            "perf/flops_per_second": operations / seconds,
            **({} if utilisation is None else {"perf/mfu": utilisation}),
            **_memory(),
        }

    def _bytes(self, share: float) -> float:
        """Bytes of one row of all streams, padding excluded."""
        model, total = self._config.model, 0.0
        if "image_text" in self._streams:
            image = model.image
            total += image.max_file_bytes if image.embedder == "file" else image.size**2 * 3
            total += self._config.data.captions * model.text.max_bytes * share
        if "frame_audio" in self._streams:
            total += model.image.size**2 * 3 + 2 * model.audio.samples
        return total


def _memory() -> dict[str, float]:
    stats: Any = jax.local_devices()[0].memory_stats()
    return {"system/peak_device_gib": stats["peak_bytes_in_use"] / 2**30} if stats else {}
