"""The two tasks of EP 3 889 830, matching and masking, alone, together and in turn.

    python launch/pretrain.py --config=configs/fine.py
    python launch/sweep.py --config=configs/sweeps/tasks.py     one CPU core, an hour (12 runs)

The table is docs/results/tasks.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import BEGUN_FINE


def get_config() -> ConfigDict:
    """Both losses, one, the other, and one after the other."""
    return ConfigDict(
        {
            "name": "tasks",
            "base": "configs/objects.py",
            "arms": {
                "together": BEGUN_FINE,
                "match alone": BEGUN_FINE | {"objectives.regions.weight": 0.0},
                "masking alone": BEGUN_FINE | {"objectives.match.weight": 0.0},
                "in turn": BEGUN_FINE | {"objectives.match.turn": (0, 2), "objectives.regions.turn": (1, 2)},
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
