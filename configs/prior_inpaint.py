r"""Deep image prior: inpainting (Ulyanov et al., CVPR 2018, section 3.3).

  python -m experiments.prior --task=inpaint --input=photo.png --mask=mask.png \
      --output=OUT

For text and single pixels, with the authors' settings of `kate`: deep skips.
For large holes leave the skips out, --config.nets.net.skip=0, and for the
largest more levels, as models.PRESETS['inpaint_library']. Where half of the
pixels are missing: --config.nets.net.skip=4 --config.nets.net.upsample=bilinear
--config.optim.net.lr=0.001 (the paper's 11 000 steps).
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 6000
  config.chunk = 50
  config.method = dict(
      name='deep_prior', loss='mse', code='noise', jitter=0.03, average=0.99,
      result='average', stopping=dict(name='fixed'))
  config.nets = dict(net=dict(
      name='skip', depth=32, channels=3, down=(128,) * 5, skip=128,
      upsample='nearest', dtype='float32'))
  config.optim = dict(net=dict(name='adam', lr=1e-2))
  if common.is_debug(arg):
    config.total_steps, config.chunk = 4, 2
    config.nets.net.down, config.nets.net.skip = (4,), 0
    config.nets.net.depth = 4
  return config
