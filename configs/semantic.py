"""Texts and objects as one input, learned by masking either and by telling whether they match (EP 3 889 830).

    python launch/pretrain.py --config=configs/semantic.py          two CPU cores, twenty to forty minutes
    python launch/pretrain.py --config=configs/semantic.py:smoke    two CPU cores, under a minute, learns nothing

With a library (docs/data.md) objects are told standard texts, and texts what they look like; a finished run makes it:

    python launch/prepare.py library --workdir=runs/semantic --output=library.safetensors
    python launch/pretrain.py --config=configs/semantic.py --config.model.library.path=library.safetensors --workdir=DIR

Objects come with boxes and labels, which the playroom knows. Each is pooled from the picture's tokens inside its box.
"""

from ml_collections import ConfigDict

from configs.base import parse, run_name, start, weigh
from xmjax.data.playroom import STYLES
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    size, smoke = parse(arg)
    config = start(arg)
    config.name = run_name("semantic", arg)
    add_tasks(config)
    masking = config.objectives.mask_predict
    masking.units, masking.max_unit_bytes, masking.written = 12, 13, 4  # what the playroom says has no more
    # How two things stand to each other is learned last: it is said more often.
    config.data.styles = (*STYLES, "pair", "size", "place")
    if size in ("tiny", "small"):
        weigh(config, contrast=0.1, match=1.0, regions=2.0, mask_predict=4.0)
    if (size, smoke) == ("tiny", False):
        # Two layers in which words ask objects by themselves learn all of it sooner than three in which they look at
        # everything at once; with single toys again and again, where these stand is not forgotten (docs/log.md).
        config.model.fusion, config.model.fusion_layers, config.data.first_every = "coattention", 2, 4
        config.model.image.unimodal_layers = 1
        config.model.heads, config.steps = 4, 5000
        config.data.first_share = 0.05  # they are learned in 200 steps, and come again
        # Which of two things stands to the left is learned where all else is known, and that is seldom drawn otherwise.
        masking.single, masking.single_kinds = 0.6, ("relation", "size", "place")
        config.objectives.match.every = 2  # it learns as much, for a twentieth of the time less (docs/log.md)
    return config


def places(config: ConfigDict) -> int:
    """Words of a text that can all be masked, beside a prompt of sixteen bytes; 32 are enough."""
    return min(32, (config.model.text.max_bytes - 16) // config.model.text.downsample)


def add_tasks(config: ConfigDict) -> None:
    """Sets the model and the objectives of matching and of masked texts and objects."""
    config.model.matching, config.model.regions.count = True, 4
    config.model.matching_product = True  # without it a match knew less than the towers (docs/log.md)
    config.model.text.max_bytes += 32  # room for a caption's prompt, and for words each of which begins a token
    # Boxes are told apart by tokens of 4 px or finer.
    image = config.model.image
    image.patch = min(image.patch, image.size // 8)
    config.objectives = ConfigDict({n: options(n) for n in ("contrast", "match", "regions", "mask_predict")})
    # What things look like is learned many times faster, and what a text alone makes expect of a picture (docs/log.md).
    config.objectives.regions.seen, config.objectives.regions.everything = 1.0, 0.5
    masking = config.objectives.mask_predict
    masking.unknown, masking.begun, masking.canvases = 0.15, 0.5, 2
    masking.units, masking.max_unit_bytes = places(config), 31
    config.evaluation.names = ("retrieval", "match", "objects", "mask_predict")
