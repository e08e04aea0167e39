r"""A student of 0.9 million parameters learns from a run of any network.

  python -m experiments.train --config=configs/distill.py \
      --config.method.teacher.path=runs/gopro_k3 \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/student

The student is a small NAFNet, a thirteenth of the coarse-to-fine network of
configs/multiscale_gopro.py. It learns from the sharp pictures and, with the
same weight, from the teacher's results for the blurry ones. The teacher's
network is read from its run, and its weights are part of the student's
checkpoint. Put the network into nets.teacher as well if the student's run must
work without that folder. To learn from features, set method.layers, pairs of
layers such as (('encode_0_00','scale_0/block_18'),), and method.layers_weight.

  ...distill.py:small   for CPUs: a student with a twelfth of the parameters of
                        its teacher configs/mimo_unet.py:small, on the
                        same folder of pairs side by side
                        (--config.data.train.root=DIR)
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=200_000, batch_size=16, save_every=2_000)
  config.method = dict(
      name='distill', teacher=dict(path='runs/gopro_k3', which='last', role=''),
      loss='l1', loss_weight=1.0, output='l1', output_weight=1.0, layers=(),
      layers_weight=0.0, ema=0.0)
  config.nets = dict(net=dict(
      name='nafnet', features=24, blocks=(1, 2, 4), middle=1,
      up_blocks=(1, 1, 1), expansion=2.0, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adamw', lr=1e-3, schedule='cosine', b2=0.9, weight_decay=1e-3,
      clip_norm=0.01, warmup_steps=0, end_lr=1e-7))
  config.data = common.gopro('blur_gamma')
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if arg == 'small':
    common.use_side_by_side(config)
    config.method.update(loss='psnr_loss', output='psnr_loss')
    config.nets.net.update(
        features=8, blocks=(1, 1, 2), middle=0, up_blocks=(1, 1, 2),
        dtype='float32')
  if common.is_debug(arg, 'small'):
    common.use_debug_run(config)
    config.method.teacher.path = None   # random weights
    config.nets.net = dict(name='single_scale', blocks=0, features=2)
    config.nets.teacher = dict(name='single_scale', blocks=0, features=4)
  return config
