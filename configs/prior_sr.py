r"""Deep image prior: super-resolution (Ulyanov et al., CVPR 2018, section 3.2).

  python -m experiments.prior --task=sr --factor=4 --input=small.png \
      --output=OUT

What is fitted is the network's picture made smaller by Lanczos2. Four times as
large by default; for eight the authors take jitter=0.05 and 4000 steps. The
paper reports 29.90 dB on Set5 at factor 4 (luma; its number, not ours), of the
last output: what is observed has no noise that one could fit.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 2000
  config.chunk = 50
  config.method = dict(
      name='deep_prior', loss='mse', factor=4, code='noise', jitter=0.03,
      average=0.99, result='average',
      stopping=dict(name='fixed'))
  config.nets = dict(net=dict(
      name='skip', depth=32, channels=3, down=(128,) * 5, skip=4,
      upsample='bilinear', dtype='float32'))
  config.optim = dict(net=dict(name='adam', lr=1e-2))
  if common.is_debug(arg):
    config.total_steps, config.chunk = 4, 2
    config.nets.net.down, config.nets.net.skip = (4,), 0
    config.nets.net.depth = 4
  return config
