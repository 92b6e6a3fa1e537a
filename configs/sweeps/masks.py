"""What is masked: words and objects or one of the two, single characters, objects that overlap or one alone; and
whether a masked object is told by what it looks like, besides what it is called.

A model of single characters has never written more than one, so that its words say nothing of what it knows.

    python launch/pretrain.py --config=configs/fine.py
    python launch/sweep.py --config=configs/sweeps/masks.py     one CPU core, an hour (18 runs)

The table is docs/results/masks.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import BEGUN_FINE


def get_config() -> ConfigDict:
    """Whole terms and groups together, each alone, and the two controls."""
    return ConfigDict(
        {
            "name": "masks",
            "base": "configs/objects.py",
            "arms": {
                "words, groups": BEGUN_FINE,
                "words alone": BEGUN_FINE | {"objectives.regions.words": 1.0, "objectives.regions.both": 0.0},
                "groups alone": BEGUN_FINE | {"objectives.regions.words": 0.0, "objectives.regions.both": 0.0},
                "characters, groups": BEGUN_FINE | {"objectives.regions.unit": "character"},
                "words, single objects": BEGUN_FINE | {"objectives.regions.groups": False},
                "words, groups, features": BEGUN_FINE
                | {"model.regions.features": True, "objectives.regions.features": 0.5},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/objects/accuracy",
                "playroom/objects/accuracy/overlapping",
                "playroom/objects/accuracy/by_itself",
                "playroom/objects/no_text",
                "playroom/objects/features",
                "playroom/objects/features/no_text",
                "playroom/objects/words",
                "playroom/objects/text_to_image/R@1",
                "playroom/match/auroc",
                "playroom/retrieval/text_to_image/R@1",
            ),
            "control": "words, groups",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
