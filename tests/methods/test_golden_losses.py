"""Golden loss curves: eleven steps of each method that learns, on two devices.

`test_loss_curves` has those of supervised training, `test_diverging` those of
adversarial training, both over thirty-one steps. The steps of cycle_physics and
blur_translation compile for too long.
"""

import numpy as np
import pytest
import steps

GOLDEN = {
    'blur_classification': [1.610771, 1.610572, 1.609895],
    'cycle': [15.011938, 14.947495, 14.947495],
    'distill': [1.034690, 1.028166, 1.024612],
    'kernel_estimation': [1.365245, 1.362024, 1.350591],
    'prune': [0.451863, 0.450197, 0.449265],
    'quantize': [0.488639, 0.485667, 0.483552],
}


@pytest.mark.parametrize('name', GOLDEN)
def test_golden_losses(name):
  _, state, step, batch, key, _ = steps.parts_of(name)
  losses = []
  for _ in range(11):
    state, metrics = step(state, batch, key)
    losses.append(float(metrics['loss']))
  np.testing.assert_allclose(losses[::5], GOLDEN[name], rtol=1e-3)
