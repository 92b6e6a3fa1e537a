"""Contrast of pictures with captions and with sounds, in a few minutes: the ground of ablations of the bridge.

    python launch/pretrain.py --config=configs/bridge.py          one CPU core, four minutes
    python launch/pretrain.py --config=configs/bridge.py:smoke    two CPU cores, under a minute, learns nothing

configs/sound.py with coarser pictures, in English, and without localisation.
"""

from ml_collections import ConfigDict

from configs import base, sound


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    size, smoke = base.parse(arg)
    config = sound.get_config(arg)
    config.name = base.run_name("bridge", arg)
    config.model.image.patch = config.model.image.size // 4
    config.objectives = ConfigDict({n: config.objectives[n].to_dict() for n in ("contrast", "sound")})
    config.evaluation.names = ("retrieval", "sound")
    if (size, smoke) == ("tiny", False):
        config.data.captions = 1
        config.data.languages = config.frame_audio.languages = ("en",)  # of frames: what held-out texts are asked in
        config.steps = 600
    return config
