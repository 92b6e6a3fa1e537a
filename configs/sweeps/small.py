"""What `size=small` reaches within the hour on two CPU cores.

    python launch/sweep.py --config=configs/sweeps/small.py     two CPU cores, an hour a seed

The table is docs/results/small.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One arm, nothing changed."""
    return ConfigDict(
        {
            "name": "small",
            "base": "configs/base.py:size=small",
            "arms": {"small": {}},
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/fill/image",
                "playroom/fill/no_image",
                "playroom/fill/shuffled_image",
                "playroom/retrieval/text_to_image/R@1",
                "playroom/retrieval/image_to_text/R@1",
                "playroom/caption/exact",
            ),
            "control": "small",
            "budget_seconds": 3600.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
