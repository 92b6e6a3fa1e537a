"""How and how deep modalities see each other, at equal numbers of parameters in their layers.

    python launch/sweep.py --config=configs/sweeps/fusion.py --jobs=2     two CPU cores, half an hour (21 runs)

The kinds have 48 width^2 parameters in fusion each: four layers merged, three of cross-attention, two of bottlenecks,
one of co-attention. The depths have six layers of 12 width^2 between picture, text and fusion: all of them in fusion is
early, none is late, where only the decoder sees both.

Single toys lead between easy and hard in two minutes on one core. Of two toys a fused decoder
without other objectives has learned little in eight (docs/log.md).
"""

from ml_collections import ConfigDict

from configs.sweeps import SINGLE, SMALL


def get_config() -> ConfigDict:
    """Four kinds, and from early to late."""

    whole = {
        **SINGLE,
        **SMALL,
        "objectives.fill.association": "",  # the decoder reads all that was fused
        "model.association": False,
        "steps": 400,
        "evaluation.names": ("fill",),
    }

    def kind(name: str, layers: int) -> dict:
        return whole | {"model.fusion": name, "model.fusion_layers": layers}

    def depth(own: int, together: int) -> dict:
        return whole | {
            "model.image.unimodal_layers": own,
            "model.text.unimodal_layers": own,
            "model.fusion_layers": together,
        }

    return ConfigDict(
        {
            "name": "fusion",
            "base": "configs/fill.py",
            "arms": {
                "merged": kind("merged", 4),
                "cross": kind("cross", 3),
                "coattention": kind("coattention", 1),
                "bottleneck": kind("bottleneck", 2),
                "early": depth(0, 6),
                "between": depth(2, 2),
                "late": depth(3, 0),
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/fill/image",
                "playroom/fill/by_class/color",
                "playroom/fill/by_class/kind",
                "playroom/fill/by_class/place",
                "playroom/fill/by_class/size",
                "playroom/fill/no_image",
                "playroom/fill/shuffled_image",
                "playroom/fill/chance",
            ),
            "control": "merged",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
