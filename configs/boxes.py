"""The semantic model on pictures of your own: photos whose objects have boxes and labels, or stamps.

    python launch/pretrain.py --config=configs/boxes.py --config.data.root=DIR    one CPU core, a quarter of an hour
    python launch/pretrain.py --config=configs/boxes.py:stamps                    of each the whole is one object

DIR is as of configs/photos.py, the objects of a photo in a column "boxes", in pixels of a picture of "width" and
"height" (docs/data.md). After "stamps," and without it the modes of configs/base.py.
"""

from ml_collections import ConfigDict

from configs import base
from configs.photos import get_config as photos_config
from configs.semantic import add_tasks
from configs.stamps import get_config as stamps_config


def get_config(arg: str = "") -> ConfigDict:
    """The config for "stamps", the modes of configs/base.py, or both with a comma between."""
    parts = [part for part in (arg or "").split(",") if part]
    stamps, mode = "stamps" in parts, ",".join(part for part in parts if part != "stamps")
    config = (stamps_config if stamps else photos_config)(mode)
    config.name = base.run_name("boxes-stamps" if stamps else "boxes", mode)
    add_tasks(config)
    if stamps:
        config.model.regions.count, config.objectives.regions.max_label_bytes = 1, 31
    else:
        config.data.regions_column, config.model.regions.count = "boxes", 8
    return config
