"""Fill alone, through the association, in under three minutes: the ground of ablations in configs/sweeps/.

    python launch/pretrain.py --config=configs/fill.py          two CPU cores, three minutes
    python launch/pretrain.py --config=configs/fill.py:smoke    two CPU cores, under a minute, learns nothing

Two minutes of training leave fill between what is easy and what is hard, so that what helps and what harms both show.
"""

from ml_collections import ConfigDict

from configs import base
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    size, smoke = base.parse(arg)
    config = base.start(arg)
    config.name = base.run_name("fill", arg)
    config.model.association = True
    config.objectives = ConfigDict({"fill": options("fill", max_span_bytes=15, association="learned")})
    config.evaluation.names = ("fill", "pointing", "entities")
    if size in ("tiny", "small") and not smoke:
        config.data.languages, config.data.first_share = ("en",), 0.5
        config.steps = 450
    return config
