"""Fill and sense, through the association, in under three minutes: the ground of ablations of the dictionary.

    python launch/pretrain.py --config=configs/sense.py          two CPU cores, three minutes by estimate
    python launch/pretrain.py --config=configs/sense.py:smoke    two CPU cores, under a minute, learns nothing

The playroom's dictionary is learned beside fill; both read the picture through the association.
"""

from ml_collections import ConfigDict

from configs import base
from configs.fill import get_config as fill_config
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    size, smoke = base.parse(arg)
    config = fill_config(arg)
    config.name = base.run_name("sense", arg)
    with config.unlocked():
        config.objectives.sense = options("sense", association="learned", every=2)
    config.evaluation.names = ("fill", "sense", "dictionary")
    if size in ("tiny", "small") and not smoke:
        # What a word means is told by the captions in the other language.
        config.data.languages, config.steps = ("en", "ko"), 350
    return config
