r"""After DeblurGAN-v2 (Kupyn et al., ICCV 2019): a feature pyramid, quick.

  python -m experiments.train --config=configs/deblurgan_v2.py \
      --config.data.train.root=DIR/GOPRO_Large \
      --config.method.features.path=vgg19.safetensors --workdir=runs/v2

Relativistic least squares, 0.5 MSE + 0.006 perceptual + 0.01 adversarial,
linear decay from a quarter of the steps on. The backbone is light and learnt
from scratch, where theirs comes from ImageNet, and one PatchGAN stands for
their two critics. The paper reports 28.17 dB for its MobileNet on `blur` (its
number, not ours). With caffe's or Keras' weights of VGG19 set
method.features.convention=caffe and the weight 0.006 to 1.8e-6, as `ops.vgg`
says.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 200_000
  config.batch_size = 1
  config.log_every = 100
  config.save_every = 1_000
  config.tensorboard = True
  config.method = dict(
      name='adversarial', content='0.5*mse + 0.006*perceptual',
      content_weight=1.0, adversarial_weight=0.01, critic_steps=1,
      at_once=False, ema=0.0,
      critic=dict(gan='ralsgan', penalty=0.0, drift=0.0),
      features=dict(path='data/vgg19.safetensors', sha256='',
                    layer='conv3_3', convention='torchvision'))
  config.nets = dict(
      gen=dict(name='fpn', dtype='float32'),
      critic=dict(name='patchgan', features=64, norm='instance',
                  dtype='float32'))
  config.optim = dict(
      gen=dict(name='adam', lr=1e-4, schedule='linear', boundaries=(0.25,)),
      critic=dict(name='adam', lr=1e-4, schedule='linear', boundaries=(0.25,)))
  root = ml_collections.FieldReference('data/GOPRO_Large')
  subset = ml_collections.FieldReference('blur')
  config.data = dict(
      train=dict(name='gopro', root=root, subset=subset, split='train'),
      test=dict(name='gopro', root=root, subset=subset, split='test'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.method.content, config.method.features = 'mse', None
    config.nets.gen.update(
        pyramid=4, features=4, expansion=1, widths=(4,) * 5,
        repeats=(1,) * 5)
    config.nets.critic.update(features=4, depth=1)
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
