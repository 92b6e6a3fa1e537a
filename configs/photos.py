"""Photos in a folder with several captions each.

    python launch/pretrain.py --config=configs/photos.py --config.data.root=DIR      two CPU cores, a few minutes

DIR holds the photos and captions.jsonl: a line a photo with its "file" and a list of "captions". For Hugging Face's
image folders (metadata.jsonl with file_name and text) set --config.data.metadata= --config.data.file_column=file_name
--config.data.text_column=text. A fifth of the photos is held out. A few hundred photos show that everything runs
and that what is shown is learned; they do not teach what generalises.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    """The config for "smoke", "size=NAME", or both."""
    size, smoke = base.parse(arg)
    config = base.on_other_data("photos", arg, "folder")
    config.data.metadata, config.data.file_column, config.data.text_column = "captions.jsonl", "file", "captions"
    config.data.validation_fraction, config.data.fit = 0.2, "crop"
    config.objectives.fill.max_span_bytes = 23
    if size in ("tiny", "small"):
        config.model.image.size, config.model.text.max_bytes = 64, 96
        config.batch_size, config.steps = 32, 300
    config.evaluation.every = config.steps // 3
    if smoke:
        base.shrink(config)
    return config
