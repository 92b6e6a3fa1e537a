"""ALBEF (Li et al. 2021): towers are aligned before text looks at the picture; matching with hard negatives, masking.

    python launch/pretrain.py --config=configs/families/albef.py          accelerators; 12, 6 and 6 layers
    python launch/pretrain.py --config=configs/families/albef.py:smoke    two CPU cores, under a minute, learns nothing

Differs: no momentum model, so that there is neither its queue nor its distillation; what is masked are words, a share
drawn anew for each text (15 of 100 word pieces there), and all behind its end; hard negatives are drawn at a fixed
temperature (the learned one of contrast there), one text and one picture each.
"""

from ml_collections import ConfigDict

from configs import families
from configs.semantic import places
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config, depth = families.start("albef", arg)
    families.layers(config, image=depth, text=depth // 2, fusion=depth // 2)
    model = config.model
    model.fusion, model.matching = "cross", True
    if model.image.size == 224:
        model.image.size = 256 // model.image.patch * model.image.patch
    with config.unlocked():
        config.objectives.contrast = options("contrast")
        config.objectives.match = options("match", hard=1.0)
        config.objectives.mask_predict = options("mask_predict", unknown=0.0, units=places(config), max_unit_bytes=31)
    config.evaluation.names = ("retrieval", "match")
    return config
