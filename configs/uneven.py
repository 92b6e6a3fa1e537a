"""Uneven modalities: captions are filled in from tags, which are learned fast, and from the picture, which is not.

    python launch/pretrain.py --config=configs/uneven.py          two CPU cores, a few minutes
    python launch/pretrain.py --config=configs/uneven.py:smoke    two CPU cores, under a minute, learns nothing

Each is missing in 30 of 100 captions. How much more is learned of one alone than of the other is the score
`subsets/gap/unimodal`; `objectives.fill.focus` is to close it (configs/sweeps/balance.py).
"""

from ml_collections import ConfigDict

from configs import base, subsets
from configs.bind import further


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config = subsets.get_config(arg)
    config.name = base.run_name("uneven", arg)
    with config.unlocked():
        config.model.others = {"tags": further(config)["tags"]}
    config.objectives.fill.others = ("tags",)
    config.evaluation.names = ("subsets",)
    if base.parse(arg) == ("tiny", False):
        config.steps = 400
    return config
