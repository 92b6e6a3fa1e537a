"""The figures of the README: the base run with three seeds.

    python launch/sweep.py --config=configs/sweeps/base.py      one CPU core, three quarters of an hour

The table is docs/results/base.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One arm, nothing changed."""
    return ConfigDict(
        {
            "name": "base",
            "base": "configs/base.py",
            "arms": {"base": {}},
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/fill/image",
                "playroom/fill/no_image",
                "playroom/fill/shuffled_image",
                "playroom/retrieval/text_to_image/R@1",
                "playroom/retrieval/image_to_text/R@1",
                "playroom/caption/exact",
            ),
            "control": "base",
            "budget_seconds": 600.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
