"""What a masked word costs whole, and a character at a time (EP 3 889 830, paragraph 67).

    python launch/pretrain.py --config=configs/semantic.py
    python launch/sweep.py --config=configs/sweeps/terms.py --jobs=2     two CPU cores, half an hour (6 runs)

All tasks go on from the semantic run, so that both arms know as much. What is to be compared is "words/bits" of the
first arm, words that are masked whole, with "words/characters/bits" of the second, the characters of the same words
summed, each read off all others. The table is docs/results/terms.md.
"""

from ml_collections import ConfigDict

BEGUN_SEMANTIC = {"begin_from": "runs/semantic", "steps": 600, "data.first_grade": "", "evaluation.names": ("objects",)}


def get_config() -> ConfigDict:
    """Words masked whole, as in the semantic run, and single characters."""
    return ConfigDict(
        {
            "name": "terms",
            "base": "configs/semantic.py",
            "arms": {"words": BEGUN_SEMANTIC, "characters": BEGUN_SEMANTIC | {"objectives.regions.unit": "character"}},
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/objects/words/bits",
                "playroom/objects/words/characters/bits",
                "playroom/objects/words/no_image/bits",
                "playroom/objects/words/no_image/characters/bits",
                "playroom/objects/words",
                "playroom/objects/accuracy",
                "playroom/objects/text_to_image/R@1",
            ),
            "control": "words",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
