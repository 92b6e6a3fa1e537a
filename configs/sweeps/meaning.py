"""Meaning from pictures: configs/meaning.py with three seeds.

    python launch/sweep.py --config=configs/sweeps/meaning.py      two CPU cores, an hour and a half

The table is docs/results/meaning.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One arm, nothing changed."""
    return ConfigDict(
        {
            "name": "meaning",
            "base": "configs/meaning.py",
            "arms": {"meaning": {}},
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/sense/image",
                "playroom/sense/no_image",
                "playroom/sense/shuffled_image",
                "playroom/dictionary/accuracy",
                "playroom/fill/image",
                "playroom/caption/exact",
                "playroom/answer/model",
                "playroom/answer/question_only",
                "playroom/describe/exact",
                "playroom/entities/f1",
                "playroom/pointing/model",
                "playroom/pointing/centre_prior",
                "playroom/relations/auroc",
            ),
            "control": "meaning",
            "budget_seconds": 1800.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
