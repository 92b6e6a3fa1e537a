"""Pictures with texts and pictures with sounds of your own, neither of which has both: texts find sounds all the same.

    python launch/prepare.py stamps --output=SET                # or videos, or sounds: see docs/data.md
    python launch/pretrain.py --config=configs/clips.py --config.frame_audio.root=SET --config.data.source=stamps
    python launch/pretrain.py --config=configs/clips.py --config.frame_audio.root=SET --config.data.root=DIR

A few minutes on two CPU cores. The stream of texts is a folder of images unless told otherwise. A few hundred sounds
show that everything runs and that what is heard is learned; they do not teach what generalises.
"""

from ml_collections import ConfigDict

from configs import base
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    size, smoke = base.parse(arg)
    config = base.on_other_data("clips", arg, "folder")
    config.data.name, config.data.fit, config.data.captions = "", "pad", 2
    frames, audio = config.frame_audio, config.model.audio
    frames.source, frames.captions, frames.fit = "clips", 0, "pad"
    audio.embedder, audio.unimodal_layers = "mel", config.model.image.unimodal_layers
    config.objectives = ConfigDict({name: options(name) for name in ("contrast", "sound")})
    config.evaluation.names = ("retrieval", "sound")
    if size in ("tiny", "small"):
        audio.seconds = 2.0
        config.batch_size, config.steps = 32, 600
    config.evaluation.every = config.steps // 3
    if smoke:
        base.shrink(config)
        audio.unimodal_layers, audio.seconds = 1, 0.5
    return config
