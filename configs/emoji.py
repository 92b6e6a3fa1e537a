"""Emoji with their names, in English and Korean.

    python launch/pretrain.py --config=configs/emoji.py --config.data.root=DIR       two CPU cores, a few minutes

DIR holds emoji.jsonl: a line a picture with its "file" and "names", a dict from language to name. Other languages:
--config.data.languages="('de','ja')", or "()" for all there are. A tenth of the emoji is held out.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    """The config for "smoke", "size=NAME", or both."""
    size, smoke = base.parse(arg)
    config = base.on_other_data("emoji", arg, "folder")
    config.data.metadata, config.data.file_column, config.data.text_column = "emoji.jsonl", "file", "names"
    config.data.languages, config.data.fit = ("en", "ko"), "pad"
    config.objectives.fill.max_span_bytes = 31
    if size in ("tiny", "small"):
        config.batch_size, config.steps = 64, 600
    config.evaluation.every = config.steps // 3
    if smoke:
        base.shrink(config)
    return config
