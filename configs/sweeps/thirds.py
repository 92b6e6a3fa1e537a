"""Third captions: another caption of the same picture joined to the first, the related words of both masked, or not.

    python launch/pretrain.py --config=configs/base.py
    python launch/sweep.py --config=configs/sweeps/thirds.py     two CPU cores, half an hour by estimate (9 runs)

The table is docs/results/thirds.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import BEGUN


def get_config() -> ConfigDict:
    """None, half and all of the captions joined, where both fit, in English and Korean."""
    room = BEGUN | {"model.text.max_bytes": 96, "data.languages": ("en", "ko")}
    return ConfigDict(
        {
            "name": "thirds",
            "base": "configs/fill.py",
            "arms": {
                "off": room,
                "half": room | {"objectives.fill.thirds": 0.5},
                "all": room | {"objectives.fill.thirds": 1.0},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/fill/image",
                "playroom/fill/by_class/kind",
                "playroom/fill/no_image",
                "playroom/fill/shuffled_image",
            ),
            "control": "off",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
