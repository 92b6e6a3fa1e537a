"""What Kim and Yoon's half-supervised model claims: the variable margin, sound mixed in, the image as the bridge.

    python launch/sweep.py --config=configs/sweeps/bridge.py --jobs=2     two CPU cores, an hour (24 runs)

Ranking losses stand beside InfoNCE and beside fixed margins of once, half and twice the variable one's, for a variable
margin of 0.2 is about 0.1 in the mean, and one of 0.4 about 0.2. Without the frames that sound there is no bridge, and
texts should find sounds by chance. The networks of their paper, smaller, are one arm; mixing is a score of every arm,
beside the picture alone and the sound alone.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """InfoNCE, five ranking losses, no bridge, and the networks of the paper."""

    def ranking(margin: float, variable: bool = False) -> dict:
        chosen = {"loss": "ranking", "margin": margin, "variable": variable}
        return {f"objectives.{name}.{field}": v for name in ("contrast", "sound") for field, v in chosen.items()}

    networks = {
        "model.image.embedder": "resnet18", "model.image.patch": 16, "model.image.stem": 8,
        "model.audio.embedder": "resnet18", "model.audio.patch": 32, "model.audio.stem": 8,
        "model.text.embedder": "words", "model.text.unimodal_layers": 0,
        "model.image.unimodal_layers": 0, "model.audio.unimodal_layers": 0,
    }  # fmt: skip
    return ConfigDict(
        {
            "name": "bridge",
            "base": "configs/bridge.py",
            "arms": {
                "infonce": {},
                "simple 0.2": ranking(0.2),
                "simple 0.1": ranking(0.1),
                "simple 0.4": ranking(0.4),
                "variable 0.2": ranking(0.2, True),
                "variable 0.4": ranking(0.4, True),
                "no bridge": {"objectives.sound.weight": 0.0},
                "resnet18, words, variable 0.2": networks | ranking(0.2, True),
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/retrieval/text_to_image/R@1",
                "playroom/retrieval/audio_to_image/R@1",
                "playroom/retrieval/text_to_audio/R@10",
                "playroom/retrieval/text_to_image+audio/R@1",
                "playroom/retrieval/text_to_image+audio/R@1/image_alone",
                "playroom/retrieval/text_to_image+audio/R@1/audio_alone",
                "playroom/retrieval/text_to_image+audio/share",
            ),
            "control": "infonce",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
