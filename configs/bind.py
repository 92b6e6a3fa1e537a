"""Binding: sound, depth, warmth, motion and tags each meet pictures alone, and texts and each other through them.

    python launch/pretrain.py --config=configs/bind.py          two CPU cores, within half an hour
    python launch/pretrain.py --config=configs/bind.py:smoke    two CPU cores, under a minute, learns nothing

Seven modalities, six pairs in training, all of them with pictures. The evaluator `emergent` measures the other fifteen.
"""

from ml_collections import ConfigDict

from configs.base import parse
from configs.sound import get_config as sound
from xmjax.objectives import options

FURTHER = ("depth", "inertial", "tags", "thermal")


def further(config: ConfigDict) -> dict:
    """The further modalities of the playroom (`data.playroom.signals`) for a config's size of pictures."""
    image = config.model.image
    plane = {
        "embedder": "plane", "unimodal_layers": 1, "size": image.size, "patch": image.patch, "stem": image.stem // 4,
        "table": 4,
    }  # fmt: skip
    return {
        "depth": dict(plane),
        "thermal": dict(plane),
        "inertial": {"embedder": "series", "unimodal_layers": 1, "length": 1152, "channels": 6, "patch": 6},
        "tags": {"embedder": "bytes", "unimodal_layers": 1, "length": 15, "patch": 3},
    }


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config = sound(arg)
    config.name = config.name.replace("sound", "bind")
    with config.unlocked():
        config.model.others = further(config)
        config.data.further = False  # captions meet pictures alone, and what nobody reads takes time to make
        config.objectives = {
            "contrast": options("contrast"),
            "bind": options("bind", modalities=("audio", *FURTHER), weights=(3.0, 1.0, 1.0, 1.0, 1.0)),
        }
    config.evaluation.names = ("retrieval", "emergent", "zero_shot", "tags")
    if parse(arg) == ("tiny", False):
        config.model.width, config.steps = 64, 1000  # of few minutes half the width makes more (docs/log.md)
    return config
