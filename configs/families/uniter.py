"""UNITER (Chen et al. 2020): one stream of regions and text; words and regions are masked, pairs matched.

    python launch/pretrain.py --config=configs/families/uniter.py          accelerators; 12 layers
    python launch/pretrain.py --config=configs/families/uniter.py:smoke    two CPU cores, under a minute, learns nothing

Words or regions are masked, never both. Differs: regions, at most 36, are pooled from patches, boxes being given, in
the place of a detector's features; a masked group is written as its labels by a decoder of one layer (features and
classes there); words are masked by a share drawn anew for each text (15 of 100 there); tasks are summed in every step
(drawn by turns there), and words are not aligned to regions by optimal transport.
"""

from ml_collections import ConfigDict

from configs import families
from configs.semantic import places
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config, depth = families.start("uniter", arg)
    families.layers(config, image=0, text=0, fusion=depth)
    add_tasks(config)
    return config


def add_tasks(config: ConfigDict) -> None:
    """Adds regions, and the three tasks of one-stream models and of ViLBERT."""
    model = config.model
    model.matching, model.regions.count = True, 4 if model.image.size < 224 else 36
    with config.unlocked():
        config.objectives.mask_predict = options("mask_predict", unknown=0.0, units=places(config), max_unit_bytes=31)
        config.objectives.regions = options("regions", both=0.0, everything=0.0)
        config.objectives.match = options("match", hard=0.0)
    config.evaluation.names = ("match", "objects")
