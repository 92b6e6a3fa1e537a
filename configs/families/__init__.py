"""Published families of models, each as a point in the space of towers, fusion and objectives.

Every one takes the modes of configs/base.py, but its default size is the paper's: `size=base` is 12 layers of width
768. All modalities have one width here and texts are bytes, so that tables of words are missing and what a paper makes
wider or narrower is not; what else differs is said in each file.
"""

from ml_collections import ConfigDict

from configs import base

UNUSED = 1
"""Layers of a part that the family does not have and the model cannot be without; nothing trains them."""


def start(family: str, arg: str) -> tuple[ConfigDict, int]:
    """A family's config without objectives, and how many layers a transformer has in it: 12 at size=base.

    Args:
      family: its name, which runs take.
      arg: of the config.
    """
    arg = arg or "size=base"
    size, smoke = base.parse(arg)
    config = base.start(arg)
    config.name = family + base.run_name("", arg)
    config.data.first_grade, config.data.first_share = "", 0.0
    config.objectives = ConfigDict()
    if smoke or size in ("tiny", "small"):
        return config, 2
    return config, {"base": 12, "large": 24, "huge": 32}[size]


def layers(config: ConfigDict, image: int, text: int, fusion: int, decoder: int = UNUSED) -> None:
    """Sets the layers of every part."""
    config.model.image.unimodal_layers, config.model.text.unimodal_layers = image, text
    config.model.fusion_layers, config.model.decoder_layers = fusion, decoder
