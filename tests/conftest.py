"""What the tests share: eight CPU devices, checked shapes, a tiny model, its parameters and its batches.

Compiling is what costs time here, so configs, parameters and compiled functions are shared wherever a test does not
need its own.
"""

import os
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

# What runs here and in the processes that tests start is so small that XLA's optimizations take many times longer than
# they save. Without them its older emitters compile twice as fast as the new ones (with them half as fast); later
# versions have no older ones, and end the process that asks for them.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
if tuple(int(part) for part in version("jaxlib").split(".")[:2]) < (0, 11):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()

import jax
import pytest
from jaxtyping import install_import_hook

# Tests run on eight devices of the CPU; those marked gpu are run as JAX_PLATFORMS=cuda pytest -m gpu.
jax.config.update("jax_platforms", os.environ.get("JAX_PLATFORMS", "cpu"))
jax.config.update("jax_num_cpu_devices", 8)

# Shapes and types of signatures are checked in all that computes. Left out are modules whose dataclasses also hold
# shardings and abstract arrays in the place of arrays, and those that name the protocol Source.
install_import_hook(
    [
        "xmjax.data.arrays",
        "xmjax.data.regions",
        "xmjax.models",
        "xmjax.objectives",
        "xmjax.sharding",
        "xmjax.training.optimizer",
        "xmjax.vocab",
    ],
    "beartype.beartype",
)

from configs.base import get_config  # noqa: E402
from xmjax import config as config_module  # noqa: E402
from xmjax.config import Config  # noqa: E402
from xmjax.data.pipeline import Batches, open_streams  # noqa: E402
from xmjax.objectives import features, make  # noqa: E402
from xmjax.training.step import State, init, make_model  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]

TINY = {
    "batch_size": 8,
    "data.first_share": 0.0,
    "model.width": 16,
    "model.heads": 2,
    "model.embedding": 16,
    "model.image.patch": 16,
    "model.image.stem": 0,
    "model.text.max_bytes": 32,
    "model.text.ngrams": (2,),
    "optimizer.name": "adamw",
}


SOUND = {
    "model.audio.embedder": "mel", "model.audio.seconds": 0.25, "model.audio.bands": 16, "model.audio.patch": 8,
    "model.audio.unimodal_layers": 1, "frame_audio.source": "playroom", "frame_audio.sound": True,
    "frame_audio.captions": 0,
}  # fmt: skip


@pytest.fixture(scope="session")
def make_config():
    """Function from changes (dotted field -> value; "objectives" replaces them all) to the tiny model's Config."""

    def build(changes: Mapping[str, Any] | None = None) -> Config:
        values = get_config("smoke")
        changes = TINY | dict(changes or {})
        with values.unlocked():
            for field in ("objectives", "model.others"):
                if field in changes:
                    group, _, name = field.rpartition(".")
                    (values[group] if group else values)[name] = changes.pop(field)
            values.update_from_flattened_dict(changes)
        return config_module.build(values)

    return build


@pytest.fixture(scope="session")
def make_sound_config(make_config):
    """Function from changes to the Config of a tiny model that also has a stream of frames and sounds."""
    return lambda changes: make_config(SOUND | changes)


@pytest.fixture(scope="session")
def tiny_config(make_config) -> Config:
    """The smoke config of the base run, shrunk further. Optimised by AdamW, which compiles faster than Muon."""
    return make_config()


@pytest.fixture(scope="session")
def batch_at():
    """Function from a config and a step to the whole batch of that step, as NumPy arrays."""

    def batch(config: Config, step: int = 0) -> dict:
        streams = open_streams(config, features(make(config)))
        return Batches(config, streams, slice(0, config.batch_size)).at(step)

    return batch


@pytest.fixture(scope="session")
def tiny_batch(batch_at, tiny_config) -> dict:
    """The first batch of the tiny config."""
    return batch_at(tiny_config)


@pytest.fixture(scope="session")
def tiny_state(tiny_config) -> State:
    """The tiny config's first state, which serves every config of its model and optimizer."""
    return jax.jit(partial(init, tiny_config))()


@pytest.fixture(scope="session")
def tiny_params(tiny_state) -> Any:
    """The tiny model's parameters at the start."""
    return tiny_state.params


@pytest.fixture(scope="session")
def apply_model():
    """Function from a config and ``f(model, *arguments)`` to the jitted ``f(params, *arguments)``."""

    def jitted(config: Config, function: Any) -> Any:
        model = make_model(config)
        return jax.jit(lambda params, *arguments: function(model.bind({"params": params}), *arguments))

    return jitted


@pytest.fixture(scope="session")
def abstract_batch():
    """Function from a config to its batch as shapes alone, made from records of the right size, without any data."""
    import numpy as np

    from xmjax.config import STREAMS
    from xmjax.data.pipeline import Stream
    from xmjax.data.source import Caption, Record
    from xmjax.models.signals import EMBEDDERS

    class Blank:
        name = "blank"

        def __init__(self, model: Any):
            size, audio = model.image.size, model.audio
            sound = np.zeros(audio.samples, np.int16) if audio.embedder else None
            captions = (Caption("a word", "en"),) * 8
            extra = {}
            for name in model.others:
                options = model.modalities[name]
                extra[name] = np.zeros(EMBEDDERS[f"any/{options.embedder}"].shape(options), np.uint8)
            self.record = Record("0", captions, np.zeros((size, size, 3), np.uint8), audio=sound, extra=extra)

        def __len__(self) -> int:
            return 1

        def read(self, indices):
            return [self.record for _ in indices]

        def manifest(self):
            return {}

    def shapes(config: Config, sharding: Any = None) -> dict:
        made = features(make(config))
        found = {}
        for name in STREAMS:
            if config.stream(name).source != "none":
                rows = Stream(config, name, Blank(config.model), made.get(name, ())).batch([0])
                struct = partial(jax.ShapeDtypeStruct, sharding=sharding)
                found[name] = {k: struct((config.batch_size, *v.shape[1:]), v.dtype) for k, v in rows.items()}
        return found

    return shapes
