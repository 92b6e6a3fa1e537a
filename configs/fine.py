"""The base run with tokens of 4 px, each of which sees two tokens far: what runs that find objects begin with.

    python launch/pretrain.py --config=configs/fine.py          one CPU core, seventeen minutes
    python launch/pretrain.py --config=configs/fine.py:smoke    two CPU cores, under a minute, learns nothing

One layer over the picture stands in the place of two, for the sake of time. Tokens that see all of the picture need not
lie on a thing for words to find it there. With four heads and a second layer of the decoder more is told of how two
things stand to each other (docs/log.md). Other sizes are the base config's.
"""

from ml_collections import ConfigDict

from configs import base

MODEL = {
    "model.image.patch": 4,
    "model.image.unimodal_layers": 1,
    "model.image.reach": 2,
    "model.heads": 4,
    "model.decoder_layers": 2,
}
"""What of the model differs from the base run's, field by field."""


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config = base.get_config(arg)
    config.name = base.run_name("fine", arg)
    if base.parse(arg) == ("tiny", False):
        see_objects(config)
    return config


def see_objects(config: ConfigDict) -> None:
    """Sets the model as runs that begin with this one need it."""
    config.update_from_flattened_dict(MODEL)
