r"""Deep image prior: flash and no flash (Ulyanov et al., CVPR 2018).

  python -m experiments.prior --task=flash --input=dark.png --guide=flash.png \
      --output=OUT

The picture with flash is the code, so its edges guide the denoising of the one
without. Both must be of one size.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 600
  config.chunk = 50
  config.method = dict(
      name='deep_prior', loss='mse', code='guide', jitter=0.0, average=0.99,
      result='last', stopping=dict(name='fixed'))
  config.nets = dict(net=dict(
      name='skip', depth=3, channels=3, down=(128,) * 5, skip=4,
      upsample=('nearest', 'nearest', 'bilinear', 'bilinear', 'bilinear'),
      dtype='float32'))
  config.optim = dict(net=dict(name='adam', lr=1e-1))
  if common.is_debug(arg):
    config.total_steps, config.chunk = 4, 2
    config.nets.net.down, config.nets.net.skip = (4,), 0
    config.nets.net.upsample = ('nearest',)
  return config
