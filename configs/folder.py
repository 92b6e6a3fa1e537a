"""Your own pictures with captions, as a Hugging Face image folder.

    python launch/pretrain.py --config=configs/folder.py --config.data.root=DIR      two CPU cores, about ten minutes

DIR holds metadata.jsonl or metadata.csv with "file_name" and "text" (or "caption", "captions"); what is named otherwise
in your data is a field of config.data (docs/data.md). A tenth of the pictures is held out.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    """The config for "smoke", "size=NAME", or both."""
    size, smoke = base.parse(arg)
    config = base.on_other_data("folder", arg, "folder")
    config.data.fit = "crop"
    config.objectives.fill.max_span_bytes = 31
    if size in ("tiny", "small"):
        config.model.image.size, config.model.text.max_bytes = 64, 96
        config.batch_size, config.steps = 32, 1000
    config.evaluation.every = config.steps // 4
    if smoke:
        base.shrink(config)
    return config
