"""CapPa (Tschannen et al. 2023): pictures are learned by captioning alone, three texts in four all bytes at once.

    python launch/pretrain.py --config=configs/families/cappa.py          accelerators; ViT-B/16, six layers of decoder
    python launch/pretrain.py --config=configs/families/cappa.py:smoke    two CPU cores, under a minute, learns nothing

Differs: bytes that are predicted at once still see only the masks before them (all of them there), after a prompt of
language and style. `parallel=0` is Cap.
"""

from ml_collections import ConfigDict

from configs import families
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config, depth = families.start("cappa", arg)
    families.layers(config, image=depth, text=families.UNUSED, fusion=0, decoder=max(1, depth // 2))
    with config.unlocked():
        config.objectives.caption = options("caption", parallel=0.75)
    config.evaluation.names = ("caption",)
    return config
