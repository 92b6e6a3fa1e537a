"""Association: learned, uniform, or that of another row, trained and tested alike and at equal cost.

    python launch/pretrain.py --config=configs/base.py
    python launch/sweep.py --config=configs/sweeps/association.py     two CPU cores, half an hour (12 runs)

All begin with the base run, which has no association. The table is docs/results/association.md; its
"shuffled_association" tests every arm with another row's association.
"""

from ml_collections import ConfigDict

from configs.sweeps import BEGUN


def get_config() -> ConfigDict:
    """The three associations, and the decoder that reads all of picture and caption."""
    way = "objectives.fill.association"
    return ConfigDict(
        {
            "name": "association",
            "base": "configs/fill.py",
            "arms": {
                "learned": BEGUN | {way: "learned"},
                "uniform": BEGUN | {way: "uniform"},
                "shuffled": BEGUN | {way: "shuffled"},
                "no association": BEGUN | {way: ""},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/fill/image",
                "playroom/fill/no_image",
                "playroom/fill/shuffled_image",
                "playroom/fill/shuffled_association",
                "playroom/pointing/model",
            ),
            "control": "learned",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
