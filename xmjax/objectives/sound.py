"""Sound: contrast between frames and the sounds that were recorded with them."""

import dataclasses

from xmjax.objectives import base, contrast


@dataclasses.dataclass(frozen=True)
class Options(contrast.Options):
    """Options of `Sound`, those of `Contrast` for the other stream."""

    stream: str = "frame_audio"
    first: str = "image"
    second: str = "audio"


@base.OBJECTIVES.register("sound")
class Sound(contrast.Contrast):
    """Self-supervision by what is seen and heard together.

    Beside `Contrast` between images and texts it makes sounds and texts meet that were never paired: the image is the
    bridge (Kim and Yoon, Image-Bridged Multimodal Half-Supervised Learning Model). The two together are its total loss.
    """

    Options = Options
    task = "matching"
