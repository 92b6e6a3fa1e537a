"""ViLBERT (Lu et al. 2019): two streams that exchange keys and values; words and regions are masked, pairs matched.

    python launch/pretrain.py --config=configs/families/vilbert.py          accelerators; text 12 layers, picture 6
    python launch/pretrain.py --config=configs/families/vilbert.py:smoke    two CPU cores, a minute, learns nothing

Texts pass six layers, then six times both streams a pair of blocks: queries of one with keys and values of the other,
and self-attention. Differs: the picture's stream and the blocks between the two are as wide as the text's (1,024 there,
with eight heads and MLPs no wider); regions are pooled from patches, boxes being given, in the place of a detector's
features; a masked one is written as its label by a decoder of one layer (a distribution over classes there); words are
masked by a share drawn anew for each text (15 of 100 there).
"""

from ml_collections import ConfigDict

from configs import families
from configs.families import uniter


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config, depth = families.start("vilbert", arg)
    families.layers(config, image=0, text=depth // 2, fusion=depth // 2)
    config.model.fusion = "coattention"
    uniter.add_tasks(config)
    return config
