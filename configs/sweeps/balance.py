"""Whether a focus on what is learned least closes the gap between a modality that is learned fast and one that is not.

python launch/sweep.py --config=configs/sweeps/balance.py --jobs=2     two CPU cores, within an hour (9 runs)
"""

from ml_collections import ConfigDict

from configs.sweeps import SINGLE, SMALL


def get_config() -> ConfigDict:
    """No focus, and two strengths of it."""
    return ConfigDict(
        {
            "name": "balance",
            "base": "configs/uneven.py",
            "arms": {
                f"focus {power:g}": SINGLE | SMALL | {"objectives.fill.focus": power} for power in (0.0, 1.0, 3.0)
            },
            "seeds": (0, 1, 2),
            "metrics": tuple(
                f"playroom/subsets/{name}"
                for name in ("gap/unimodal", "tags", "image", "image+tags", "text_alone", "chance", "most_frequent")
            ),
            "control": "focus 0",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
