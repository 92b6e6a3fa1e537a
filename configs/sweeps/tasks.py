"""The two tasks of EP 3 889 830 alone and together, and masking of words and of objects alone and together.

python launch/sweep.py --config=configs/sweeps/tasks.py --jobs=2     two CPU cores, within an hour (15 runs)
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One loss, the other, both; and what is masked in a record."""
    return ConfigDict(
        {
            "name": "tasks",
            "base": "configs/objects.py",
            "arms": {
                "together": {},
                "match alone": {"objectives.regions.weight": 0.0},
                "masking alone": {"objectives.match.weight": 0.0},
                "words only": {"objectives.regions.words": 1.0, "objectives.regions.both": 0.0},
                "objects only": {"objectives.regions.words": 0.0, "objectives.regions.both": 0.0},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/match/auroc",
                "playroom/objects/accuracy",
                "playroom/objects/no_text",
                "playroom/objects/words",
            ),
            "control": "together",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
