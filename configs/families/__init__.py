"""Published families of models, each as a point in the space of towers, fusion and objectives.

Every one takes the modes of configs/base.py, but its default size is the paper's: `size=base` is 12 layers of width
768. What differs in all of them:

- All modalities have one width. Texts are bytes, four to a token, so that there is no table of words.
- Layers have squared ReLU, norms without shifts and no biases; pixels come through a table of bytes; a token's place is
  told again after a modality's own layers. Towers are pooled by a learned query and have heads of two layers.
- All begin at random, none from BERT or a ViT trained before. The optimizer is Muon, the batch 1,024 unless it is set.
- Equal captions of different pictures belong together. Captions and texts that are filled in follow a prompt of
  language and style.

What else differs is said in each file. BLIP is ALBEF with a decoder that writes captions (add the objective `caption`);
CoCa, whose text decoder is half blind to the picture, is no point of this space. ImageBind is configs/bind.py.
"""

from ml_collections import ConfigDict

from configs import base

UNUSED = 1
"""Layers of a part that the family does not have and the model cannot be without."""


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
    config.model.text.ngrams = ()
    if smoke or size in ("tiny", "small"):
        return config, 2
    return config, {"base": 12, "large": 24, "huge": 32}[size]


def layers(config: ConfigDict, image: int, text: int, fusion: int, decoder: int = UNUSED) -> None:
    """Sets the layers of every part."""
    config.model.image.unimodal_layers, config.model.text.unimodal_layers = image, text
    config.model.fusion_layers, config.model.decoder_layers = fusion, decoder
