"""The base run with tokens of 4 px, each of which sees two tokens far: what runs that find objects begin with.

    python launch/pretrain.py --config=configs/fine.py          one CPU core, a quarter of an hour
    python launch/pretrain.py --config=configs/fine.py:smoke    two CPU cores, under a minute, learns nothing

It takes the base run's time, since one layer over the picture stands in the place of two. Tokens that see all of the
picture need not lie on a thing for words to find it there (docs/log.md). Other sizes see as the base config's do.
"""

from ml_collections import ConfigDict

from configs import base

SEES = {"model.image.patch": 4, "model.image.unimodal_layers": 1, "model.image.reach": 2}
"""What the picture's tokens are, field by field."""


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    config = base.get_config(arg)
    config.name = base.run_name("fine", arg)
    if base.parse(arg) == ("tiny", False):
        see_objects(config)
    return config


def see_objects(config: ConfigDict) -> None:
    """Sets the picture's tokens as runs that begin with this one need them."""
    config.update_from_flattened_dict(SEES)
