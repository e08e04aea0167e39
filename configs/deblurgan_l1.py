r"""DeblurGAN's generator by 100 L1 + binary cross entropy: no file is needed.

  python -m experiments.train --config=configs/deblurgan_l1.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/deblurgan_l1

The objective of pix2pix (Isola et al., CVPR 2017), which the authors' code
offers too: 100 L1 of images in [-1, 1] is 200 L1 of ours in [0, 1]. With
resize-convolutions (no chessboard), crops that are flipped and brightened, and
cosine from 1e-4. Not trained to the end by us yet.

configs/deblurgan_l1.py:bare leaves the generator its own defaults, so that
nets.gen.name may be any network (experiments.ablate --name=generator).
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 150_000
  config.batch_size = 8
  config.log_every = 100
  config.save_every = 1_000
  config.tensorboard = True
  config.method = dict(
      name='adversarial', content='l1', content_weight=200.0,
      adversarial_weight=1.0, critic_steps=1, at_once=True, ema=0.999,
      critic=dict(gan='bce', penalty=0.0, drift=0.0))
  config.nets = dict(
      gen=dict(name='resnet', features=64, blocks=9, dropout=0.0,
               upsample='resize', dtype='bfloat16'),
      critic=dict(name='patchgan', features=64, norm='instance',
                  dtype='bfloat16'))
  config.optim = dict(
      gen=dict(name='adam', lr=1e-4, b1=0.5, schedule='cosine'),
      critic=dict(name='adam', lr=1e-4, b1=0.5, schedule='cosine'))
  root = ml_collections.FieldReference('data/GOPRO_Large')
  subset = ml_collections.FieldReference('blur')
  config.data = dict(
      train=dict(name='gopro', root=root, subset=subset, split='train'),
      test=dict(name='gopro', root=root, subset=subset, split='test'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='flips', brighten=0.5, brightness=(0.8, 1.2))
  config.validate = dict(pictures=8, crop=512)
  if arg == 'bare':
    config.nets.gen = dict(name='resnet', dtype='bfloat16')
  if common.is_debug(arg, 'bare'):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.nets.gen.features, config.nets.gen.blocks = 4, 2
    config.nets.critic.update(features=4, depth=1)
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
