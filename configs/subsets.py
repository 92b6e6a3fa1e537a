"""Missing modalities: captions are filled in from any of picture, depth and warmth, each of which may be missing.

    python launch/pretrain.py --config=configs/subsets.py          one or two CPU cores, fifteen minutes
    python launch/pretrain.py --config=configs/subsets.py:smoke    two CPU cores, under a minute, learns nothing

In training each of the three is missing in 30 of 100 captions. The evaluator `subsets` prints the table of all subsets.
"""

from ml_collections import ConfigDict

from configs import base
from configs.bind import further


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config = base.get_config(arg)
    config.name = base.run_name("subsets", arg)
    known = further(config)
    with config.unlocked():
        config.model.others = {m: known[m] for m in ("depth", "thermal")}
        del config.objectives.caption
    config.objectives.fill.others, config.objectives.fill.drop = ("depth", "thermal"), 0.3
    config.evaluation.names = ("fill", "retrieval", "subsets")
    if base.parse(arg) == ("tiny", False):
        config.steps = 1200
    return config
