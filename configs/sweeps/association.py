"""Association: learned, uniform, or that of another row, trained and tested alike and at equal cost.

    python launch/sweep.py --config=configs/sweeps/association.py     two CPU cores, half an hour (12 runs)

Not run to its end yet; the table will be docs/results/association.md. Its
"shuffled_association" tests every arm with another row's association.
"""

from ml_collections import ConfigDict

from configs.sweeps import SINGLE, SMALL


def get_config() -> ConfigDict:
    """The three associations, and the decoder that reads all of picture and caption."""
    way = "objectives.fill.association"
    return ConfigDict(
        {
            "name": "association",
            "base": "configs/fill.py",
            "arms": {
                "learned": SINGLE | SMALL | {way: "learned"},
                "uniform": SINGLE | SMALL | {way: "uniform"},
                "shuffled": SINGLE | SMALL | {way: "shuffled"},
                "no association": SINGLE | SMALL | {way: ""},
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
