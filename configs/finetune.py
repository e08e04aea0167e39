r"""The model that came along goes on with pairs of your own.

  python -m experiments.train --config=configs/finetune.py \
      --config.data.train.blur=DIR --config.data.train.sharp=DIR \
      --config.data.test.blur=DIR --config.data.test.sharp=DIR \
      --workdir=runs/mine
  deblur restore photo.jpg -m runs/mine

Pairs have the same names in both folders. A tenth of the crops is sharp and
shall stay so. It begins with the shipped weights, at a rate that does not
forget them: 2,000 steps take minutes on two CPU cores.

--config.method.start.path=RUN goes on from a run of this network instead.
"""

from configs import common, default_model


def get_config(arg=None):
  config = default_model.get_config()
  config.total_steps = 2_000
  config.save_every = 500
  config.method.start = dict(path='deblur_jax/zoo/weights/default.safetensors')
  config.optim.net.lr = 2e-4
  config.data = dict(
      train=dict(name='folder_pairs', blur='data/blur', sharp='data/sharp'),
      test=dict(name='folder_pairs', blur='data/test_blur',
                sharp='data/test_sharp'),
      loader=dict(loader='threads', crop=96, progressive=()))
  config.augment.identity = 0.1
  if common.is_debug(arg):
    common.use_builtin(config)
    config.total_steps = 2
    config.data.loader.crop = 32
    config.validate = dict(pictures=2, crop=64)
  return config
