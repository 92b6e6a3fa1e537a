"""Missing modalities: configs/subsets.py with three seeds, and the table of all subsets.

    python launch/sweep.py --config=configs/sweeps/subsets.py --jobs=2      two CPU cores, half an hour

The table is docs/results/subsets.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import SUBSETS


def get_config() -> ConfigDict:
    """One arm, nothing changed."""
    return ConfigDict(
        {
            "name": "subsets",
            "base": "configs/subsets.py",
            "arms": {"subsets": {}},
            "seeds": (0, 1, 2),
            "metrics": (*SUBSETS, "playroom/retrieval/text_to_image/R@1"),
            "control": "subsets",
            "budget_seconds": 1800.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
