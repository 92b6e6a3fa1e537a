"""Match and masked objects in a few minutes: the ground of ablations of the semantic model in configs/sweeps/.

    python launch/pretrain.py --config=configs/objects.py          two CPU cores, three minutes by estimate
    python launch/pretrain.py --config=configs/objects.py:smoke    two CPU cores, under a minute, learns nothing

English alone and twice as many single toys as the semantic run, so that a few minutes lead between easy and hard.
"""

from ml_collections import ConfigDict

from configs import base
from configs.semantic import get_config as semantic


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    size, smoke = base.parse(arg)
    config = semantic(arg)
    config.name = base.run_name("objects", arg)
    config.model.unmasking = False
    with config.unlocked():
        del config.objectives.mask_predict
    config.evaluation.names = ("retrieval", "match", "objects")
    if size in ("tiny", "small") and not smoke:
        config.data.languages, config.data.first_share = ("en",), 0.5
        config.steps = 300
    return config
