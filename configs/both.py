"""The base run with sounds: fill, contrast and captions of one stream, pictures with sounds of another.

    python launch/pretrain.py --config=configs/both.py:size=small    two CPU cores, half an hour to an hour
    python launch/pretrain.py --config=configs/both.py:smoke         two CPU cores, under a minute, learns nothing

The base run is left as it is, for it takes most of its ten minutes.
"""

from ml_collections import ConfigDict

from configs import base, sound
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config = base.start(arg)
    config.name = base.run_name("both", arg)
    sound.add_stream(config, arg)
    with config.unlocked():
        config.objectives.sound = options("sound")
    config.evaluation.names = (*config.evaluation.names, "sound")
    if not base.parse(arg)[1]:
        config.evaluation.samples = 1000  # sounds are found among all of them
    if base.parse(arg) == ("small", False):
        config.steps = 2100  # 1.3 s a step on slow cores (docs/log.md)
        base.weigh(config, sound=0.2)
    return config
