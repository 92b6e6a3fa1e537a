"""What a library of standard texts and crops adds: texts told to objects, pictures told to texts, both or none.

    python launch/sweep.py --config=configs/sweeps/library.py --jobs=2     two CPU cores, twenty minutes (12 runs)

The library comes from a finished run of the same data, which holds the same records out:

    python launch/pretrain.py --config=configs/fine.py
    python launch/pretrain.py --config=configs/objects.py --config.begin_from=runs/fine
    python launch/prepare.py library --workdir=runs/objects --output=runs/library.safetensors

The table is docs/results/library.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import BEGUN_FINE


def get_config() -> ConfigDict:
    """Without, each way, and both."""
    path = BEGUN_FINE | {"model.library.path": "runs/library.safetensors"}
    return ConfigDict(
        {
            "name": "library",
            "base": "configs/objects.py",
            "arms": {
                "none": BEGUN_FINE,
                "texts to objects": path | {"model.library.texts": False},
                "pictures to texts": path | {"model.library.objects": False},
                "both": path,
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/match/auroc",
                "playroom/match/text_to_image/R@1",
                "playroom/match/image_to_text/R@1",
                "playroom/objects/accuracy",
                "playroom/objects/no_text",
                "playroom/objects/words",
                "playroom/objects/words/shuffled_image",
            ),
            "control": "none",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
