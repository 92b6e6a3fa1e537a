"""Seven modalities bound to pictures: configs/bind.py with three seeds.

    python launch/pretrain.py --config=configs/base.py
    python launch/sweep.py --config=configs/sweeps/bind.py --jobs=2      two CPU cores, three quarters of an hour

All three begin with the same base run. The table is docs/results/bind.md.
"""

import itertools

from ml_collections import ConfigDict

from configs.bind import FURTHER


def get_config() -> ConfigDict:
    """One arm, begun with the base run; of each emergent pair the recall at one, both ways."""
    bound = ("text", "audio", *FURTHER)
    return ConfigDict(
        {
            "name": "bind",
            "base": "configs/bind.py",
            "arms": {"bind": {"begin_from": "runs/base"}},
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/retrieval/text_to_image/R@1",
                "playroom/retrieval/image_to_text/R@1",
                "playroom/zero_shot/model",
                "playroom/tags/image_to_tag_mAP",
                "playroom/tags/tag_to_image_mAP",
                *(f"playroom/emergent/{a}_to_{b}/R@1" for a, b in itertools.permutations(bound, 2)),
            ),
            "control": "bind",
            "budget_seconds": 1800.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
