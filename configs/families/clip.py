"""CLIP (Radford et al. 2021): two towers, and a softmax over all pairs of a batch.

    python launch/pretrain.py --config=configs/families/clip.py          accelerators; ViT-B/16
    python launch/pretrain.py --config=configs/families/clip.py:smoke    two CPU cores, under a minute, learns nothing

Differs: the text's transformer is as wide as the picture's (512 there), not causal, and reads bytes; both are pooled by
a learned query. The scale of similarities is learned and at most 100, as there; it begins at 14.3.
"""

from ml_collections import ConfigDict

from configs import families
from xmjax.objectives import options


def get_config(arg: str = "", name: str = "clip", loss: str = "infonce") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config, depth = families.start(name, arg)
    families.layers(config, image=depth, text=depth, fusion=0)
    config.model.log_scale = 2.66
    with config.unlocked():
        config.objectives.contrast = options("contrast", loss=loss)
    config.evaluation.names = ("retrieval", "zero_shot")
    return config
