r"""Deep image prior: deblurring with a kernel that is known.

  python -m experiments.prior --task=deblur --input=blurred.png \
      --kernel=kernel.png --output=OUT

SelfDeblur's non-blind mode (Ren et al., CVPR 2020): its network for the image,
halved rates at 700, 800 and 900 steps of 1000, the last output.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 1000
  config.chunk = 50
  config.method = dict(
      name='deep_prior', loss='mse', code='noise', jitter=1e-3, average=0.99,
      result='last', stopping=dict(name='fixed'))
  config.nets = dict(net=dict(
      name='skip', depth=8, channels=3, down=(128,) * 5, skip=16,
      attention=(2, 3, 4), upsample='bilinear', dtype='float32'))
  config.optim = dict(net=dict(
      name='adam', lr=1e-2, schedule='step', boundaries=(0.7, 0.8, 0.9),
      factor=0.5))
  if common.is_debug(arg):
    config.total_steps, config.chunk = 4, 2
    config.nets.net.update(down=(4,), skip=0, attention=(), depth=4)
  return config
