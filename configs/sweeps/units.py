"""How many characters a unit of text has (EP 3 889 830, claim 8), in the tasks of the semantic model.

    python launch/pretrain.py --config=configs/fine.py
    python launch/sweep.py --config=configs/sweeps/units.py --jobs=2     two CPU cores, half an hour (12 runs)

The run that all begin with reads n-grams: what it knows of texts, units have to learn anew. The table is
docs/results/units.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import BEGUN_FINE


def get_config() -> ConfigDict:
    """N-grams, and units of one, two and four characters."""
    units = BEGUN_FINE | {"model.text.embedder": "units"}
    return ConfigDict(
        {
            "name": "units",
            "base": "configs/objects.py",
            "arms": {"n-grams": BEGUN_FINE}
            | {f"{n} character{'s' * (n > 1)}": units | {"model.text.unit": n} for n in (1, 2, 4)},
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/match/auroc",
                "playroom/match/text_to_image/R@1",
                "playroom/retrieval/text_to_image/R@1",
                "playroom/objects/accuracy",
                "playroom/objects/words",
                "playroom/objects/text_to_image/R@1",
            ),
            "control": "n-grams",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
