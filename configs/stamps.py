"""Rubber stamps of Tux Paint: cut-out pictures with a name in up to 67 languages.

    apt-get install tuxpaint-stamps-default      # Debian, Ubuntu, Colab
    python launch/pretrain.py --config=configs/stamps.py                             two CPU cores, a few minutes

Without --config.data.root the stamps are read from where the package installs them. All languages are used;
--config.data.languages="('en','ko')" chooses. A tenth of the stamps is held out.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    """The config for "smoke", "size=NAME", or both."""
    size, smoke = base.parse(arg)
    config = base.on_other_data("stamps", arg, "stamps")
    config.data.fit, config.data.captions = "pad", 4
    config.objectives.fill.max_span_bytes = 31
    config.objectives.caption.max_prompt_bytes = 12
    if size in ("tiny", "small"):
        config.batch_size, config.steps = 32, 600
    config.evaluation.every = config.steps // 3
    if smoke:
        base.shrink(config)
    return config
