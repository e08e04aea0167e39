r"""One network for all scales, by the recipe of SRN (Tao et al., CVPR 2018).

  python -m experiments.train --config=configs/srn.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/srn

Mean squared error of three scales, Adam with 1e-4 that decays with a power of
0.3, 523,000 steps of 16 crops, no flips.
--config.nets.net.recurrent=True adds the recurrent state of the paper, which
reports 30.26 dB on `blur` (its number, not ours). Separate weights for each
scale have three times the parameters: experiments.ablate --name=sharing.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=523_000, batch_size=16, save_every=2_000)
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='supervised', loss='mse', over_scales='sum',
      pyramid=pyramid, ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='srn', scales=3, shared=True, recurrent=False, features=32, blocks=3,
      kernel_size=5, pyramid=pyramid, residual=False, attention='none',
      dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adam', lr=1e-4, schedule='polynomial', power=0.3))
  config.data = common.gopro('blur')
  config.augment = dict(preset='none')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_debug_run(config)
    config.nets.net.update(
        scales=2, recurrent=True, features=2, blocks=0, kernel_size=3,
        dtype='float32')
  return config
