"""Pictures with captions and pictures with sounds: text finds sounds that it was never paired with.

    python launch/pretrain.py --config=configs/sound.py          two CPU cores, twelve minutes to half an hour
    python launch/pretrain.py --config=configs/sound.py:smoke    two CPU cores, under a minute, learns nothing

Two streams in every step: image-caption pairs (supervised) and frame-sound pairs (self-supervised), other scenes in
each. No sound comes with a text; the image is the bridge.
"""

from ml_collections import ConfigDict

from configs import base
from xmjax.objectives import options


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py."""
    size, smoke = base.parse(arg)
    config = base.start(arg)
    config.name = base.run_name("sound", arg)
    add_stream(config, arg)
    # A map of 4 px or finer, to find in the picture what is heard.
    image = config.model.image
    image.patch = min(image.patch, image.size // 8)
    config.objectives = ConfigDict({n: options(n) for n in ("contrast", "sound", "locate")})
    config.evaluation.names = (
        "retrieval", "sound", "localize", "arithmetic", "compose", "zero_shot", "tags",
    )  # fmt: skip
    config.objectives.locate.sharpness = 8.0
    if not smoke:
        config.evaluation.samples = 1000
    if (size, smoke) == ("tiny", False):
        # One layer of attention over the picture's 64 tokens learns as much a step as two, in two thirds of the time.
        image.unimodal_layers, config.steps = 1, 2800
        config.model.width = 128  # as it was measured
    return config


def add_stream(config: ConfigDict, arg: str) -> None:
    """Adds scenes of which one toy is heard as a second stream, and what reads their sounds."""
    audio, frames = config.model.audio, config.frame_audio
    audio.embedder, audio.unimodal_layers = "mel", config.model.image.unimodal_layers
    if base.parse(arg)[0] in ("tiny", "small"):
        audio.seconds = 1.0
    frames.source, frames.sound, frames.captions = "playroom", True, 0
    frames.first_grade, frames.first_share = config.data.first_grade, config.data.first_share
