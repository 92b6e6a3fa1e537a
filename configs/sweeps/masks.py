"""What is masked together: words or single characters, objects that overlap or one alone.

Words as such are not scored, for a model of single characters has never written more than one.

    python launch/pretrain.py --config=configs/fine.py
    python launch/sweep.py --config=configs/sweeps/masks.py     one CPU core, forty minutes (9 runs)

The table is docs/results/masks.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import BEGUN_FINE


def get_config() -> ConfigDict:
    """Whole terms and groups, and the two controls."""
    return ConfigDict(
        {
            "name": "masks",
            "base": "configs/objects.py",
            "arms": {
                "words, groups": BEGUN_FINE,
                "characters, groups": BEGUN_FINE | {"objectives.regions.unit": "character"},
                "words, single objects": BEGUN_FINE | {"objectives.regions.groups": False},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/objects/accuracy",
                "playroom/objects/accuracy/overlapping",
                "playroom/objects/accuracy/by_itself",
                "playroom/objects/no_text",
                "playroom/objects/text_to_image/R@1",
                "playroom/match/auroc",
                "playroom/retrieval/text_to_image/R@1",
            ),
            "control": "words, groups",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
