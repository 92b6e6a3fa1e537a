"""Texts and objects as one input: configs/semantic.py with three seeds.

    python launch/sweep.py --config=configs/sweeps/semantic.py --jobs=2     two CPU cores, an hour and forty minutes

The table is docs/results/semantic.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One arm, nothing changed."""
    return ConfigDict(
        {
            "name": "semantic",
            "base": "configs/semantic.py",
            "arms": {"semantic": {}},
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/match/auroc",
                "playroom/match/text_to_image/R@1",
                "playroom/match/image_to_text/R@1",
                "playroom/retrieval/text_to_image/R@1",
                "playroom/retrieval/image_to_text/R@1",
                "playroom/rerank/text_to_image/R@1",
                "playroom/rerank/image_to_text/R@1",
                "playroom/objects/accuracy",
                "playroom/objects/accuracy/overlapping",
                "playroom/objects/accuracy/by_itself",
                "playroom/objects/words",
                "playroom/objects/text_to_image/R@1",
                "playroom/objects/image_to_text/R@1",
                "playroom/mask_predict/exact",
                "playroom/mask_predict/certain_first",
                "playroom/mask_predict/from_the_left",
                "playroom/mask_predict/by_beam",
                "playroom/mask_predict/shuffled_image",
            ),
            "control": "semantic",
            "budget_seconds": 1800.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
