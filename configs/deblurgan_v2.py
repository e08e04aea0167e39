r"""After DeblurGAN-v2 (Kupyn et al., ICCV 2019): a fast feature pyramid.

  python -m experiments.train --config=configs/deblurgan_v2.py \
      --config.data.train.root=DIR/GOPRO_Large \
      --config.method.features.path=vgg19.safetensors --workdir=runs/v2

Relativistic least squares, 0.5 MSE + 0.006 perceptual + 0.01 adversarial,
linear decay after a quarter of the steps. Two differences from the paper: the
backbone is light and trained from scratch, theirs is trained on ImageNet; one
PatchGAN replaces their two discriminators. The paper reports 28.17 dB for its
MobileNet on `blur` (its number, not ours). With the weights of Caffe or Keras
set method.features.convention=caffe and the weight 0.006 to 1.8e-6, see
`ops.vgg`.
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(total_steps=200_000, batch_size=1)
  config.method = dict(
      name='adversarial', content='0.5*mse + 0.006*perceptual',
      content_weight=1.0, adversarial_weight=0.01, discriminator_steps=1,
      simultaneous=False, ema=0.0,
      discriminator=dict(gan='ralsgan', penalty=0.0, drift=0.0),
      features=dict(path='data/vgg19.safetensors', sha256='',
                    layer='conv3_3', convention='torchvision'))
  config.nets = dict(
      generator=dict(name='fpn', dtype='float32'),
      discriminator=dict(name='patchgan', features=64, norm='instance',
                         dtype='float32'))
  adam = dict(name='adam', lr=1e-4, schedule='linear', boundaries=(0.25,))
  config.optim = dict(generator=adam, discriminator=dict(adam))
  config.data = common.gopro('blur')
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_debug_run(config)
    config.method.content, config.method.features = 'mse', None
    config.nets.generator.update(
        pyramid=4, features=4, expansion=1, widths=(4,) * 5,
        repeats=(1,) * 5)
    config.nets.discriminator.update(features=4, depth=1)
  return config
