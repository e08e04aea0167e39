r"""Two layers of one picture: Double-DIP (Gandelsman et al., CVPR 2019).

  python -m experiments.prior --task=blend --input=photo.png --output=OUT

A picture that is a blend of two, such as something that moved before what stood
still, is painted by two networks and a mask between them: OUT has NAME_first,
NAME_second and NAME_mask. --hint names a picture that is white where a pixel is
surely of the first layer, black where of the second, and grey elsewhere.
Without one, which layer is the first is a matter of chance. For layers that
shine through, --config.method.binary=0.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 4000
  config.chunk = 50
  config.method = dict(
      name='double_prior', loss='mse', exclusion=0.1, binary=0.01, hint=1.0,
      hint_steps=500, jitter=1 / 30, average=0.99, result='last',
      stopping=dict(name='fixed'))
  layer = dict(
      name='skip', depth=2, channels=3, down=(8, 16, 32, 64, 128),
      skip=(0, 0, 0, 4, 4), upsample='bilinear', dtype='float32')
  config.nets = dict(
      first=layer, second=dict(layer), mask=dict(layer, channels=1))
  rate = dict(name='adam', lr=1e-3)
  config.optim = dict(first=rate, second=dict(rate), mask=dict(rate))
  if common.is_debug(arg):
    config.total_steps, config.chunk = 4, 2
    for net in config.nets.values():
      net.update(down=(4,), skip=(0,))
  return config
