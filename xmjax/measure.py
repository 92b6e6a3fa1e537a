"""What one case of a benchmark costs: compilation, step and loader, timed in turn in one process.

What is timed are the functions that the training loop calls, in the loop's order.
"""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from xmjax import sharding, vocab
from xmjax.config import Config, DataConfig
from xmjax.data.pipeline import Batch, Batches, open_streams
from xmjax.data.source import Caption, Record, Source
from xmjax.data.sources import SOURCES
from xmjax.models.embedders import spectrogram
from xmjax.objectives import features, make
from xmjax.training.step import abstract_state, jit_init, jit_update
from xmjax.training.throughput import Throughput

MEASURES = ("compile", "random_data_step", "real_loader_step", "loader_only", "mel")
"""Seconds to compile; the step on one batch of random data that stays on the device; the step with its batches from the
loader; the loader alone; the spectrograms of a batch of sounds, of a model that hears them."""


def measure(config: Config, kinds: Sequence[str], repeats: int, steps: int) -> dict[str, Any]:
    """All measures of one config, each repeated, alternating with the others.

    Args:
      config: of the case.
      kinds: of `MEASURES`.
      repeats: of every measure.
      steps: in each repeat.

    Returns:
      "compile_seconds", "memory", and for each of the other measures median, least and greatest of its repeats;
      "loader_ratio" is the step with the loader over the step on random data, in the same repeat; "mel" is as of
      `mel_times`.
    """
    prefetch = max(config.data.prefetch, config.frame_audio.prefetch)
    config = dataclasses.replace(config, steps=max(config.steps, prefetch + 1 + steps))
    size, mesh = config.batch_size, sharding.make_mesh(config.mesh)
    objectives = make(config)
    streams = open_streams(config, features(objectives))
    batches = Batches(config, streams, sharding.local_rows(mesh, size))
    with jax.set_mesh(mesh):
        random = sharding.place(randomised(batches.at(0)), mesh, size)
        update = jit_update(config, objectives, mesh)
        start = time.perf_counter()
        compiled = update.lower(abstract_state(config, mesh), random).compile()
        result: dict[str, Any] = {"compile_seconds": time.perf_counter() - start}
        memory = _compiled_memory(compiled)
        if not set(kinds) - {"compile"}:
            return result | {"memory": memory}
        state = jit_init(config, mesh)()
        shown: dict[str, float] = {}

        def updates(batch: Callable[[], Any], count: int) -> None:
            """Updates as the loop does them; waits for the last one."""
            nonlocal state, shown
            metrics: Any = None
            for _ in range(count):
                state, metrics = compiled(state, batch())
            shown = {key: float(value) for key, value in jax.device_get(metrics).items()}

        def random_data_step() -> float:
            return _seconds(lambda: updates(lambda: random, steps)) / steps

        def real_loader_step() -> float:
            with _started(batches) as loader:
                # The buffer is as full, or as empty, as it is in the midst of a run.
                updates(lambda: sharding.place(next(loader), mesh, size), prefetch + 1)
                return _seconds(lambda: updates(lambda: sharding.place(next(loader), mesh, size), steps)) / steps

        def loader_only() -> float:
            with _started(batches) as loader:
                for _ in range(prefetch + 1):
                    next(loader)
                return _seconds(lambda: [next(loader) for _ in range(steps)]) / steps

        updates(lambda: random, 1)
        timers = {t.__name__: t for t in (random_data_step, real_loader_step, loader_only) if t.__name__ in kinds}
        times: dict[str, list[float]] = {name: [] for name in timers}
        for _ in range(repeats):
            for name, timer in timers.items():
                times[name].append(timer())

    for name, seconds in times.items():
        result[name] = {"seconds": _spread(seconds)}
        if name == "loader_only":
            result[name]["examples_per_second"] = size / statistics.median(seconds)
        else:
            speed = Throughput(config, objectives, streams)
            result[name] |= _rates(speed, shown, statistics.median(seconds))
    if {"random_data_step", "real_loader_step"} <= times.keys():
        pairs = zip(times["random_data_step"], times["real_loader_step"], strict=True)
        result["loader_ratio"] = _spread([real / step for step, real in pairs])
    if "mel" in kinds and config.model.audio.embedder in ("mel", "resnet18"):
        result["mel"] = mel_times(config, repeats, steps)
    return result | {"memory": memory | _device_memory()}


def mel_times(config: Config, repeats: int, steps: int) -> dict[str, dict[str, float]]:
    """Seconds until the spectrograms of a batch of sounds are on the device, two ways, and the factor between them.

    "device_seconds": the bytes of the sounds are sent, and the device makes spectrograms of them, as in training;
    "host_seconds": JAX makes them on the host's CPU, and they are sent. Each way is compiled before.
    """
    options = config.model.audio
    pcm = np.random.default_rng(0).integers(0, 256, (config.batch_size, 2 * options.samples), np.uint8)
    device, host = jax.local_devices()[0], jax.local_devices(backend="cpu")[0]
    spectrograms = jax.jit(lambda pcm: spectrogram(pcm, options))

    def on_device() -> Any:
        return spectrograms(jax.device_put(pcm, device))

    def on_host() -> Any:
        return jax.device_put(np.asarray(spectrograms(jax.device_put(pcm, host))), device)

    ways = {"device_seconds": on_device, "host_seconds": on_host}
    for way in ways.values():
        jax.block_until_ready(way())
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            times[name].append(_seconds(lambda way=way: jax.block_until_ready([way() for _ in range(steps)])) / steps)
    pairs = zip(*times.values(), strict=True)
    factor = {"factor": _spread([on_host / on_device for on_device, on_host in pairs])}
    return {name: _spread(seconds) for name, seconds in times.items()} | factor


class _Elapsed:
    """Stands for the loop's clock where the seconds of a step are known."""

    def __init__(self, step: float):
        self._seconds = {"data_wait": 0.0, "step": step}

    def seconds(self) -> dict[str, float]:
        return self._seconds


def _rates(speed: Throughput, shown: Mapping[str, float], seconds: float) -> dict[str, float]:
    """What the loop logs as perf/* for steps that take so long."""
    speed.metrics(shown, _Elapsed(0.0))  # type: ignore[arg-type]  # the first call only sets the start
    speed.step()
    found = speed.metrics(shown, _Elapsed(seconds))  # type: ignore[arg-type]
    wanted = ("examples_per_second", "bytes_per_second", "flops_per_second", "mfu")
    return {key: found[f"perf/{key}"] for key in wanted if f"perf/{key}" in found}


@contextlib.contextmanager
def _started(batches: Batches) -> Iterator[Iterator[Batch]]:
    loader = batches.start(0)
    try:
        yield loader
    finally:
        loader.close()  # type: ignore[attr-defined]  # no thread of it runs beside the next measure


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _compiled_memory(compiled: Any) -> dict[str, int]:
    """What the compiler reserves on each device; empty where it does not tell."""
    analysis = compiled.memory_analysis()
    kinds = ("argument", "output", "temp", "alias")
    return {f"{kind}_bytes": getattr(analysis, f"{kind}_size_in_bytes") for kind in kinds} if analysis else {}


def _device_memory() -> dict[str, int]:
    stats: Any = jax.local_devices()[0].memory_stats()
    return {"peak_bytes": stats["peak_bytes_in_use"]} if stats else {}


def randomised(batch: Batch, seed: int = 0) -> Batch:
    """A batch with random bytes in the place of its bytes; special ids, and so the lengths of texts, stay."""
    rng = np.random.default_rng(seed)

    def one(x: np.ndarray) -> np.ndarray:
        if x.dtype in (np.uint8, np.int16):
            return rng.integers(np.iinfo(x.dtype).min, np.iinfo(x.dtype).max, x.shape, x.dtype, endpoint=True)
        if x.dtype == np.uint16:
            return np.where(x < vocab.PAD, rng.integers(0, 256, x.shape, np.uint16), x)
        return x

    return {stream: {key: one(x) for key, x in arrays.items()} for stream, arrays in batch.items()}


class RandomSource(Source):
    """Records of noise in any size of image, for measuring where no data are at hand."""

    name = "random"

    def __init__(self, image_size: int, captions: int, text_bytes: int):
        """Args:
        image_size: pixels along each side.
        captions: of each record.
        text_bytes: of each caption.
        """
        self._side, self._captions, self._text_bytes = image_size, captions, text_bytes

    def __len__(self):
        return 2**31

    def read(self, indices):
        return [self._read(int(index)) for index in indices]

    def _read(self, index: int) -> Record:
        rng = np.random.default_rng(index)
        letters = rng.integers(ord("a"), ord("z"), (self._captions, self._text_bytes), np.uint8)
        letters[:, 5::6] = ord(" ")
        captions = tuple(Caption(row.tobytes().decode()) for row in letters)
        image = np.frombuffer(rng.bytes(self._side**2 * 3), np.uint8).reshape(self._side, self._side, 3)
        return Record(f"random/{index}", captions, image)

    def manifest(self):
        return {"name": self.name, "image_size": self._side, "captions": self._captions, "bytes": self._text_bytes}


@SOURCES.register("random")
def _random(config: Config, options: DataConfig, split: str) -> RandomSource:
    return RandomSource(config.model.image.size, options.captions, config.model.text.max_bytes)
