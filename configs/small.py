r"""The student `small`: MAXIM's first stage, reduced step by step.

  python -m experiments.release.train_small --photos=DIR --gopro=GOPRO_Large \
      --frames=DIR_OR_VIDEO,... --pairs=DIR --blurred=DIR,... \
      --teacher=maxim-2 --about=experiments/release/small.json \
      --workdir=runs/small

makes the pairs, trains the five parts of this config one after another, and
writes the weights and their card. One part alone, on the pairs that the program
made:

  python -m experiments.train --config=configs/small.py:groups \
      --config.data.test.root=GOPRO_Large --workdir=runs/small/groups

MAXIM's first stage on a picture of half the size (`maxim-half`) has 6.1 million
parameters. Its matrices over positions lose little by a rank of 16, and the
second block of its bottleneck can be folded into the layers behind it: 4.3
million remain. The rest is removed during training:

  ...small.py:groups   fades out the second of two groups in every block
  ...small.py:regain   trains the rest on the values of its teacher's layers
  ...small.py:widths   fades out 20 of 128 channels at the lowest level
  ...small.py:narrow   trains the rest: 2.2 million parameters, a tenth of
                       MAXIM-3S
  ...small.py          trains it once more, from the full rate
  ...small.py:truth, ...small.py:widths_truth, ...
                       the same parts without a teacher: true targets alone

The student learns from sharp pictures and from its teacher `maxim-half`: from
its results and from its layers. A third of the crops are blurred photographs
without sharp originals; their targets are results of `maxim-2`. The others have
true targets: GoPro's and other pairs, photos blurred by a moving camera and a
moving object, photos blurred by one kernel, and averaged film. On CPUs with
half precision oneDNN halves the time:

  export XLA_FLAGS="--xla_cpu_use_onednn=true
      --xla_cpu_experimental_onednn_custom_call=true"

A high rate loses what the weights knew: without the teacher's layers, 200 steps
of 2e-4 reduce 27.4 dB on GoPro to 24.8; 3e-5 does not.
"""

from configs import common

WHOLE = dict(name='maxim', stages=1, scales=1, reduce=2, rank=16, bottleneck=1,
             dtype='bfloat16')
NARROW = WHOLE | dict(groups=1)
CONSTANT = dict(schedule='constant')
COSINE = dict(lr=1.5e-4, schedule='cosine', end_lr=1e-6)
# Of each part: the network, what fades out, from how many levels of the teacher
# it learns (0: no teacher), steps, and options of the optimizer.
PARTS = {
    'groups': dict(net=WHOLE, fade=dict(groups=1), layers=0, steps=1_900,
                   optim=dict(lr=3e-5, **CONSTANT)),
    'regain': dict(net=NARROW, fade=None, layers=3, steps=800,
                   optim=dict(lr=1e-4, **CONSTANT)),
    'widths': dict(net=NARROW, fade=dict(widest=108), layers=2, steps=520,
                   optim=dict(lr=1.5e-4, **CONSTANT)),
    'narrow': dict(net=NARROW | dict(widest=108), fade=None, layers=2,
                   steps=2_600, optim=COSINE),
    '': dict(net=NARROW | dict(widest=108), fade=None, layers=2, steps=5_600,
             optim=COSINE),
}


def get_config(arg=None):
  is_debug = common.is_debug(
      arg, *PARTS, 'truth', *(f'{name}_truth' for name in PARTS if name))
  name = '' if is_debug else arg or ''
  by_truth = name.endswith('truth')
  name = name.removesuffix('truth').removesuffix('_')
  part = PARTS[name]
  config = common.experiment(
      total_steps=part['steps'], batch_size=1, save_every=200,
      tensorboard=False)
  loss = 'l1 + 0.05*fft_l1'
  config.method = dict(
      name='supervised', loss=loss,
      init_from=dict(path=f'runs/small/start_{name or "run"}.npz'),
      over_scales='sum', pyramid='nearest', ema=0.99)
  config.nets = dict(net=part['net'])
  if part['layers'] and not by_truth:
    config.method.update(
        name='distill', teacher=dict(path='maxim-half'), output=loss,
        output_weight=0.5, layers=_layers(part['layers']), layers_weight=1.0,
        layers_by='values')
    config.nets.teacher = dict(dtype='bfloat16')
  if part['fade']:
    config.method.fade = dict(net=part['fade'], steps=part['steps'])
  config.optim = dict(net=dict(
      name='adamw', warmup_steps=50, b2=0.999, weight_decay=1e-4,
      clip_norm=1.0, **part['optim']))
  # Sets with few large frames have a large weight: it gives the shares above.
  config.data = dict(
      train=common.prepared_mixture(
          'runs/small/pixels', **({} if by_truth else dict(teacher_0=48)),
          gopro=60, film_0=6, scene=1, kernel=1, pairs=1),
      test=dict(name='gopro', root='data/gopro', subset='blur', split='test'),
      loader=dict(backend='threads', crop=256, progressive=()))
  config.augment = dict(preset='flips', rotate=1.0, identity=0.08,
                        noise=2 / 255, jpeg=0.3, quality=(60, 100))
  config.validate = dict(pictures=4, crop=512)
  if is_debug:
    common.use_debug_run(config, crop=64)
    # Random weights.
    config.method.init_from.path = config.method.teacher.path = None
    tiny = common.tiny_maxim(reduce=2)
    config.nets = dict(net=tiny | dict(rank=2, groups=1), teacher=tiny)
    config.method.layers = _layers(1)
    config.method.fade = dict(net=dict(groups=1), steps=2)
  return config


def _layers(levels):
  """The output of the last group of each block, in student and teacher."""
  blocks = [name for i in range(levels) for name in (
      f'stage_0_encoder_block_{i}',
      f'stage_0_decoder_block_{i}/UNetEncoderBlock_0')]
  return tuple((f'{block}/channel_attention_block_10',
                f'{block}/channel_attention_block_11') for block in blocks)
