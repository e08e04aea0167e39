r"""Deep image prior: noise (Ulyanov et al., CVPR 2018, section 3.1).

  python -m experiments.prior --task=denoise --input=noisy.png --output=OUT

The network and its settings as in the authors' program; the picture is taken
where the variance of the outputs is lowest (ES-EMV), as nobody knows the truth.
The paper reports 30.43 dB at sigma 25 on nine pictures with the average of the
outputs, of fits that were stopped by looking (its number, not ours).
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 3000
  config.chunk = 50
  config.method = dict(
      name='deep_prior', loss='mse', code='noise', jitter=1 / 30, average=0.99,
      result='best_average', stopping=dict(name='emv'))
  config.nets = dict(net=dict(
      name='skip', depth=32, channels=3, down=(128,) * 5, skip=4,
      upsample='bilinear', dtype='float32'))
  config.optim = dict(net=dict(name='adam', lr=1e-2))
  if common.is_debug(arg):
    config.total_steps, config.chunk = 4, 2
    config.nets.net.down, config.nets.net.skip = (4,), 0
    config.nets.net.depth = 4
  return config
