"""Meaning from pictures: configs/meaning.py with three seeds.

    python launch/pretrain.py --config=configs/fine.py
    python launch/sweep.py --config=configs/sweeps/meaning.py --jobs=2      two CPU cores, an hour and a half

All three begin with the same run. The table is docs/results/meaning.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One arm, begun with a run that sees objects."""
    return ConfigDict(
        {
            "name": "meaning",
            "base": "configs/meaning.py",
            "arms": {"meaning": {"begin_from": "runs/fine"}},
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
                "playroom/reduction/none@64",
                "playroom/reduction/relation@16",
                "playroom/reduction/tome@16",
                "playroom/reduction/grid@16",
                "playroom/reduction/random@16",
                "playroom/retrieval/text_to_image/R@1",
                "playroom/retrieval/image_to_text/R@1",
            ),
            "control": "meaning",
            "budget_seconds": 1800.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
