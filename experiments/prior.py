r"""Restores pictures by deep image priors: a fit to each, no training before.

  python -m experiments.prior --task=denoise --input=noisy.png --output=OUT
  python -m experiments.prior --task=sr --factor=4 --input=DIR --output=OUT
  python -m experiments.prior --task=inpaint --input=photo.png --mask=mask.png \
      --output=OUT
  python -m experiments.prior --task=blind --kernel_size=19 --seeds=2 \
      --input=blurred.png --output=OUT

Tasks: denoise, jpeg, sr, inpaint (--mask: white is known), deblur (--kernel),
blind (--kernel_size), flash (--guide: the picture with flash). --truth gives
the table its PSNR; without --input the truth itself is corrupted, as the papers
do it: --sigma levels of noise, --factor, --missing or --mask, --quality,
--kernel, and --crop takes a square from its middle.

--config is by default that of the task, configs/prior_TASK.py, of which
everything may be changed: --config.total_steps=800. Pictures of one size are
fitted --at_once, over all devices.
"""

import importlib
import sys

import tqdm
from absl import flags
from ml_collections import config_flags

from experiments import common

_TASK = flags.DEFINE_string('task', None, 'See above.', required=True)
_INPUT = flags.DEFINE_string('input', None, 'Picture or folder.')
_OUTPUT = flags.DEFINE_string('output', None, 'Folder.', required=True)
_TRUTH = flags.DEFINE_string('truth', None, 'Sharp picture or folder.')
_MASK = flags.DEFINE_string('mask', None, 'Picture or folder; white is known.')
_GUIDE = flags.DEFINE_string('guide', None, 'Picture with flash, or folder.')
_KERNEL = flags.DEFINE_string('kernel', None, '.npz, .npy, picture or folder.')
_KERNEL_SIZE = flags.DEFINE_integer('kernel_size', None, 'Odd; for blind.')
_FACTOR = flags.DEFINE_integer('factor', None, 'For sr.', lower_bound=2)
_SIGMA = flags.DEFINE_float('sigma', 25.0, 'Noise that is added, of 255.')
_MISSING = flags.DEFINE_float(
    'missing', 0.5, 'Share of pixels that is taken away.', lower_bound=0,
    upper_bound=1)
_QUALITY = flags.DEFINE_integer('quality', 10, 'Of JPEG.', 1, 100)
_CROP = flags.DEFINE_integer('crop', 0, 'Side of the part that is taken.')
_GRAY = flags.DEFINE_bool('gray', False, 'One channel of luma.')
_SEEDS = flags.DEFINE_integer(
    'seeds', 1, 'Fits of each picture; the best counts.', lower_bound=1)
_AT_ONCE = flags.DEFINE_integer(
    'at_once', 1, 'Pictures that are fitted together.', lower_bound=1)
_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'By default configs/prior_TASK.py.', lock_config=True)


def main(argv):
  """Returns 0."""
  del argv
  from deblur_jax import prior, types
  from deblur_jax.report import render

  types.look_up(prior.problems.TASKS, _TASK.value, what='task')
  config = _config()
  tasks = _problems(config['method'].get('factor', 1))
  total = config['total_steps']
  with tqdm.tqdm(file=sys.stderr, unit='step', total=total * len(tasks),
                 disable=None) as bar:
    finished = 0

    def on_steps(name, done):
      nonlocal finished
      count = name.count(', ') + 1
      bar.set_postfix_str(name[:40])
      bar.update(finished + done * count - bar.n)
      if done == total:
        finished += total * count

    result = prior.run(
        config, tasks, _OUTPUT.value, task=_TASK.value, seeds=_SEEDS.value,
        at_once=_AT_ONCE.value, on_steps=on_steps)
  if result['mean']:
    head, *body = prior.table(result)
    print(render.table(head, body))
  for name, row in result['rows'].items():
    if row['dead']:
      print(f'{name}: without contrast, whatever the seed; try a lower '
            'learning rate.')
    elif row['back']:
      print(f'{name}: the fit fell {row["back"]} times, and went on from '
            'where it was better.')
  print(f'{len(tasks)} pictures are in {_OUTPUT.value}.')
  return 0


def _config():
  from deblur_jax import types

  if _CONFIG.value is not None:
    config = _CONFIG.value
  else:
    config = importlib.import_module(
        f'configs.prior_{_TASK.value}').get_config()
  config = config.to_dict()
  if _FACTOR.value is not None:
    if _TASK.value != 'sr':
      raise types.UserError('--factor belongs to --task=sr.')
    config['method']['factor'] = _FACTOR.value
  if _KERNEL_SIZE.value is not None:
    if _TASK.value != 'blind':
      raise types.UserError('--kernel_size belongs to --task=blind.')
    config['nets']['kernel']['size'] = (_KERNEL_SIZE.value,) * 2
  if _GRAY.value:
    for name in ('net', 'image'):
      if name in config['nets']:
        config['nets'][name]['channels'] = 1
  return config


def _problems(factor):
  from deblur_jax import prior, types

  if _INPUT.value is not None:
    if _CROP.value:
      raise types.UserError(
          '--crop is for pictures that are corrupted here; leave out --input.')
    return prior.problems.read(
        _INPUT.value, task=_TASK.value, factor=factor, truth=_TRUTH.value,
        mask=_MASK.value, kernel=_KERNEL.value, guide=_GUIDE.value,
        gray=_GRAY.value)
  if _TRUTH.value is None:
    raise types.UserError('Give --input, or --truth to be corrupted.')
  return prior.problems.make(
      _TRUTH.value, task=_TASK.value, factor=factor, sigma=_SIGMA.value,
      missing=_MISSING.value, quality=_QUALITY.value, mask=_MASK.value,
      kernel=_KERNEL.value, crop=_CROP.value, gray=_GRAY.value)


if __name__ == '__main__':
  common.run(main)
