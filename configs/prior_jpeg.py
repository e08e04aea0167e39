r"""Deep image prior: artefacts of JPEG (Ulyanov et al., CVPR 2018, fig. 3).

  python -m experiments.prior --task=jpeg --input=blocks.jpg --output=OUT

A smaller network on a code of three channels, as in the authors' program.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 2400
  config.chunk = 50
  config.method = dict(
      name='deep_prior', loss='mse', code='noise', jitter=1 / 30, average=0.99,
      result='best_average', stopping=dict(name='emv'))
  config.nets = dict(net=dict(
      name='skip', depth=3, channels=3, down=(8, 16, 32, 64, 128),
      skip=(0, 0, 0, 4, 4), upsample='bilinear', dtype='float32'))
  config.optim = dict(net=dict(name='adam', lr=1e-2))
  if common.is_debug(arg):
    config.total_steps, config.chunk = 4, 2
    config.nets.net.down, config.nets.net.skip = (4,), (0,)
    config.nets.net.depth = 4
  return config
