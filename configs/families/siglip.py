"""SigLIP (Zhai et al. 2023): two towers, and every pair of a batch by itself, in chunks that go round the devices.

    python launch/pretrain.py --config=configs/families/siglip.py          accelerators; B/16, with :size=large L/16
    python launch/pretrain.py --config=configs/families/siglip.py:smoke    two CPU cores, under a minute, learns nothing

Differs: texts are pooled by a learned query too (their last token there).
"""

from ml_collections import ConfigDict

from configs.families import clip


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config = clip.get_config(arg, "siglip", "sigmoid")
    config.model.log_scale, config.model.similarity_bias = 2.303, -10.0
    config.objectives.contrast.chunk = min(config.batch_size, 256)
    return config
