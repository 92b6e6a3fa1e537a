"""Tests of several objectives under one loss: that all learn, together and in turn, and go on where they were."""

import jax
import numpy as np
import pytest

from xmjax.objectives import make, options
from xmjax.training.step import init, update

STEPS = 100


@pytest.mark.parametrize(
    "turns", [pytest.param(None, id="together", marks=pytest.mark.slow), pytest.param(((0, 2), (1, 2)), id="in turn")]
)
def test_match_and_masks_both_learn(make_config, batch_at, turns):
    """One batch again and again; a run that is taken up at half of it ends as one that was not interrupted."""
    match, regions = ({"turn": turn} for turn in turns) if turns else ({}, {})
    objectives = {
        "match": options("match", hard=0.0, **match),
        "regions": options("regions", words=0.0, both=0.5, drop=0.0, **regions),
    }
    changes = {"model.matching": True, "model.regions.count": 2, "optimizer.warmup": 0, "optimizer.learning_rate": 0.01}
    config = make_config(changes | {"objectives": objectives, "steps": STEPS})
    batch, made = batch_at(config), make(config)
    jitted = jax.jit(lambda state, batch: update(config, made, state, batch))

    def go(state, count):
        metrics = []
        for _ in range(count):
            state, found = jitted(state, batch)
            metrics.append({name: float(found[f"{name}/loss"]) for name in objectives})
        return state, metrics

    half, first = go(jax.jit(lambda: init(config))(), STEPS // 2)
    _, second = go(half, STEPS // 2)
    _, again = go(jax.tree.map(np.asarray, half), STEPS // 2)
    assert again == second
    for name in objectives:
        early, late = (np.mean([m[name] for m in part]) for part in (first[:6], second[-6:]))
        assert late < 0.9 * early, (name, early, late)
