"""Binding: sound, depth, warmth, motion and tags each meet pictures alone, and texts and each other through them.

    python launch/pretrain.py --config=configs/bind.py --config.begin_from=runs/base    two cores, within half an hour
    python launch/pretrain.py --config=configs/bind.py:smoke                            under a minute, learns nothing

Seven modalities, six pairs in training, all of them with pictures. The evaluator `emergent` measures the other fifteen.
Pictures and texts are those of a finished base run, as ImageBind's are those of CLIP; without `begin_from` they begin
at random too, and much less is learned in the same time (docs/log.md). Unlike ImageBind's they go on learning, captions
beside; the sizes are the playroom's, and motion and tags stand for what it has of video.
"""

from ml_collections import ConfigDict

from configs import base
from configs.sound import add_stream
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
    config = base.start(arg)
    config.name = base.run_name("bind", arg)
    add_stream(config, arg)
    with config.unlocked():
        config.model.others = further(config)
        config.data.further = False  # captions meet pictures alone, and what nobody reads takes time to make
        config.objectives = {
            "contrast": options("contrast"),
            "bind": options("bind", modalities=("audio", *FURTHER), weights=(3.0, 1.0, 1.0, 1.0, 1.0)),
        }
    config.evaluation.names = ("retrieval", "emergent", "zero_shot", "tags")
    if base.parse(arg) == ("tiny", False):
        config.model.audio.unimodal_layers, config.steps = 1, 1400
    return config
