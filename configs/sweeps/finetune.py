"""Fine-tuning: a finished run learns what scenes are called, as a whole, in its fused part, by LoRA, or from nothing.

    python launch/pretrain.py --config=configs/semantic.py
    python launch/sweep.py --config=configs/sweeps/finetune.py --jobs=2     two CPU cores, half an hour (12 runs)

The table is docs/results/finetune.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The three ways from the same checkpoint, and the first of them from random parameters."""
    return ConfigDict(
        {
            "name": "finetune",
            "base": "configs/finetune.py:from=runs/semantic,task=scene",
            "arms": {
                "all": {},
                "fused": {"optimizer.trained": "fused"},
                "lora": {"optimizer.trained": "lora", "optimizer.learning_rate": 3e-3},
                "all, from nothing": {"begin_from": ""},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/finetune/scene",
                "playroom/finetune/question_only",
            ),
            "control": "all",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
