"""Which words fill masks: random ones, those of a dictionary, or those that the picture helps most with.

    python launch/pretrain.py --config=configs/base.py
    python launch/sweep.py --config=configs/sweeps/masking.py     two CPU cores, within an hour by estimate (12 runs)

The table is docs/results/masking.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import BEGUN


def get_config() -> ConfigDict:
    """Random words against policies and a mixture, at equal numbers of steps."""
    entities, gain = "objectives.fill.entities", "objectives.fill.gain"
    return ConfigDict(
        {
            "name": "masking",
            "base": "configs/fill.py",
            "arms": {
                "random": BEGUN,
                "dictionary": BEGUN | {entities: 1.0},
                "visual gain": BEGUN | {gain: 1.0, "objectives.fill.alternatives": 2},
                "half dictionary": BEGUN | {entities: 0.5},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/fill/image",
                "playroom/fill/by_class/kind",
                "playroom/fill/by_class/color",
                "playroom/fill/no_image",
                "playroom/entities/gain_f1",
            ),
            "control": "random",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
