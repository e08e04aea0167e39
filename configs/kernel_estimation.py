r"""An estimator of kernels alone, trained on synthetic blur.

  python -m experiments.train --config=configs/kernel_estimation.py \
      --config.data.train.root=DIR_OF_PHOTOS --workdir=runs/kernel
  python -m experiments.evaluate_kernels --workdir=runs/kernel \
      --photos=OTHER_PHOTOS --kernels=motion_kernels.npz --classical

Half of the crops are blurred along random paths, half along smooth ones.
Restored pictures are deconvolved by the predicted kernel. For whole photographs
raise --config.data.loader.crop: more edges give better kernels.

  ...kernel_estimation.py:small   for CPUs: kernels of 35 pixels from crops of
                                  128
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=100_000, batch_size=16, save_every=2_000)
  # Plain values: dicts in a tuple cannot hold references.
  size, gamma = 35, 1.0
  config.method = dict(
      name='kernel_estimation', ema=0.0,
      deconvolution=dict(name='wiener', noise=5e-3))
  config.nets = dict(kernel=dict(
      name='kernel_fourier', size=size, features=32, blocks=4, guesses=16,
      rounds=2, dtype='float32'))
  config.optim = dict(kernel=dict(
      name='adam', lr=1e-3, schedule='cosine', warmup_steps=100,
      clip_norm=1.0))
  config.data = dict(
      train=dict(name='photos', root='data/photos'),
      test=dict(name='builtin', split='test'),
      blur=dict(kind='mixture', parts=(
          dict(kind='trajectory', size=size, gamma=gamma),
          dict(kind='gaussian_process', size=size, gamma=gamma))),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=6, crop=256)
  if arg == 'small':
    config.total_steps, config.batch_size = 4_000, 8
    config.nets.kernel.update(features=16, blocks=2, guesses=8)
    config.data.loader.update(backend='threads', crop=128)
  if common.is_debug(arg, 'small'):
    common.use_debug_run(config)
    config.data.blur = dict(kind='line', size=5, gamma=gamma,
                            length=(2.0, 4.0))
    config.nets.kernel.update(
        size=5, features=2, blocks=0, guesses=1, rounds=1)
  return config
