"""Match and masked objects in a few minutes: the ground of ablations of the semantic model in configs/sweeps/.

    python launch/pretrain.py --config=configs/fine.py
    python launch/pretrain.py --config=configs/objects.py --config.begin_from=runs/fine    one CPU core, four minutes
    python launch/pretrain.py --config=configs/objects.py:smoke    two CPU cores, under a minute, learns nothing

English alone, one fused layer and half of the batch, so that a few minutes lead between easy and hard.
"""

from ml_collections import ConfigDict

from configs import base
from configs.fine import see_objects
from configs.semantic import get_config as semantic


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    size, smoke = base.parse(arg)
    config = semantic(arg)
    config.name = base.run_name("objects", arg)
    with config.unlocked():
        del config.objectives.mask_predict
    config.model.text.max_bytes -= 16  # which needs more room
    config.evaluation.names = ("retrieval", "match", "objects")
    if size in ("tiny", "small") and not smoke:
        config.data.languages, config.batch_size, config.steps = ("en",), 32, 500
        config.data.first_grade, config.data.first_share = "", 0.0
        if size == "tiny":
            see_objects(config)
        # As its sweeps were measured, before the semantic run fused otherwise and showed single toys again.
        config.model.fusion, config.model.fusion_layers = "merged", 1
        config.data.first_every, config.objectives.match.every = 0, 1
    return config
