"""The dictionary in training: off, several thresholds, and wrong entries with a threshold and without.

    python launch/pretrain.py --config=configs/base.py
    python launch/sweep.py --config=configs/sweeps/dictionary.py     one CPU core, an hour (30 runs)

The table is docs/results/dictionary.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import BEGUN


def get_config() -> ConfigDict:
    """The right dictionary at three thresholds and off; a tenth, a quarter and a half of its entries wrong at two."""
    threshold, wrong = "objectives.sense.threshold", "objectives.sense.wrong"
    changes = {
        "threshold 0.1": {},
        "off": {"objectives.sense.weight": 0.0},
        "threshold 0": {threshold: 0.0},
        "threshold 0.3": {threshold: 0.3},
        "a tenth wrong, threshold 0.1": {wrong: 0.1},
        "a tenth wrong, threshold 0": {wrong: 0.1, threshold: 0.0},
        "a quarter wrong, threshold 0.1": {wrong: 0.25},
        "a quarter wrong, threshold 0": {wrong: 0.25, threshold: 0.0},
        "half wrong, threshold 0.1": {wrong: 0.5},
        "half wrong, threshold 0": {wrong: 0.5, threshold: 0.0},
    }
    return ConfigDict(
        {
            "name": "dictionary",
            "base": "configs/sense.py",
            "arms": {name: BEGUN | {"steps": 250} | change for name, change in changes.items()},
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/sense/image",
                "playroom/sense/no_image",
                "playroom/sense/shuffled_image",
                "playroom/dictionary/accuracy",
                "playroom/dictionary/keep_rate",
                "playroom/fill/image",
            ),
            "control": "threshold 0.1",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
