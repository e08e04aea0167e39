r"""Restores pictures by deep image priors: a fit to each, no training before.

  python -m experiments.prior --task=denoise --input=noisy.png --output=OUT
  python -m experiments.prior --task=sr --factor=4 --input=DIR --output=OUT
  python -m experiments.prior --task=inpaint --input=photo.png --mask=mask.png \
      --output=OUT
  python -m experiments.prior --task=blind --kernel_size=19 --seeds=2 \
      --input=blurred.png --output=OUT

Tasks: denoise, jpeg, sr, inpaint (--mask: white is known), deblur (--kernel),
blind (--kernel_size), flash (--guide: the picture with flash), blend (--hint,
if you like). --truth gives the table its PSNR; without --input the truth itself
is corrupted, as the papers do it: --sigma levels of noise, --factor, --missing
or --mask, --quality, --kernel, and --crop takes a square from its middle.

--config is by default that of the task, configs/prior_TASK.py, of which
everything may be changed: --config.total_steps=800. Pictures of one size are
fitted --at_once, over all devices; --warm begins each with what the one before
came to, for the frames of a video; --start=FILE with what
experiments.prior_start has learned. --luma fits luma only and keeps the
colours.
"""

import pathlib
import sys

import tqdm
from absl import flags
from ml_collections import config_flags

from experiments import common

TASK = flags.DEFINE_string('task', None, 'See above.', required=True)
_INPUT = flags.DEFINE_string('input', None, 'Picture or folder.')
OUTPUT = flags.DEFINE_string('output', None, 'Folder.', required=True)
_TRUTH = flags.DEFINE_string('truth', None, 'Sharp picture or folder.')
_MASK = flags.DEFINE_string('mask', None, 'Picture or folder; white is known.')
_GUIDE = flags.DEFINE_string('guide', None, 'Picture with flash, or folder.')
_HINT = flags.DEFINE_string(
    'hint', None, 'Picture or folder; white is of the first layer.')
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
_LUMA = flags.DEFINE_bool('luma', False, 'Fit luma, keep the chroma.')
_START = flags.DEFINE_string('start', None, 'Of experiments.prior_start.')
_WARM = flags.DEFINE_bool('warm', False, 'Begin with the picture before.')
_PARAMS = flags.DEFINE_bool(
    'params', False, 'Write NAME_params.npz too, a start for others.')
_SEEDS = flags.DEFINE_integer(
    'seeds', 1, 'Fits of each picture; the best counts.', lower_bound=1)
AT_ONCE = flags.DEFINE_integer(
    'at_once', 1, 'Pictures that are fitted together.', lower_bound=1)
_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'By default configs/prior_TASK.py.', lock_config=True)


def main(argv):
  """Returns 0."""
  del argv
  from deblur_jax import prior, types
  from deblur_jax.report import render

  types.look_up(prior.problems.TASKS, TASK.value, what='task')
  config = resolve()
  tasks = problems(config)
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
        config, tasks, OUTPUT.value, task=TASK.value, seeds=_SEEDS.value,
        at_once=AT_ONCE.value, warm=_WARM.value, on_steps=on_steps,
        params=_PARAMS.value,
        start=prior.starts.read(_START.value) if _START.value else None)
  if result['mean']:
    head, *body = prior.results.table(result)
    print(render.table(head, body))
    for name, row in result['rows'].items():
      print(f"{name}: the best average that there was is "
            f"{row['gap']['psnr_average']:.2f} dB better than the one chosen.")
  for name, row in result['rows'].items():
    if row['dead']:
      print(f'{name}: without contrast, whatever the seed; try a lower '
            'learning rate.')
    elif row['back']:
      print(f'{name}: the fit fell {row["back"]} times, and went on from '
            'where it was better.')
  print(f'{len(tasks)} pictures are in {OUTPUT.value}.')
  return 0


def resolve():
  """The config as plain dicts, with what the flags say."""
  from deblur_jax import types

  config = _CONFIG.value.to_dict()
  if _FACTOR.value is not None:
    if TASK.value != 'sr':
      raise types.UserError('--factor belongs to --task=sr.')
    config['method']['factor'] = _FACTOR.value
  if _KERNEL_SIZE.value is not None:
    if TASK.value != 'blind':
      raise types.UserError('--kernel_size belongs to --task=blind.')
    config['nets']['kernel']['size'] = (_KERNEL_SIZE.value,) * 2
  if _GRAY.value or _LUMA.value:
    for name in ('net', 'image'):
      if name in config['nets']:
        config['nets'][name]['channels'] = 1
  return config


def problems(config):
  """What the flags describe, as a list of problems."""
  from deblur_jax import prior, types

  factor = config['method'].get('factor', 1)
  if _INPUT.value is None:
    if _TRUTH.value is None:
      raise types.UserError('Give --input, or --truth to be corrupted.')
    tasks = prior.problems.make(
        _TRUTH.value, task=TASK.value, factor=factor, sigma=_SIGMA.value,
        missing=_MISSING.value, quality=_QUALITY.value, mask=_MASK.value,
        kernel=_KERNEL.value, crop=_CROP.value, gray=_GRAY.value)
  elif _CROP.value:
    raise types.UserError(
        '--crop is for pictures that are corrupted here; leave out --input.')
  else:
    tasks = prior.problems.read(
        _INPUT.value, task=TASK.value, factor=factor, truth=_TRUTH.value,
        mask=_MASK.value, kernel=_KERNEL.value, guide=_GUIDE.value,
        hint=_HINT.value, gray=_GRAY.value, luma=_LUMA.value)
  if config['method'].get('guide'):
    size = max(config['nets']['kernel']['size'])
    tasks = [prior.problems.with_classical_start(one, size=size)
             for one in tasks]
  return tasks


def with_config(argv):
  """The command line with the config of its task, where it gives none.

  A --config.KEY=VALUE is known only after a --config.
  """
  if any(arg.startswith('--config=') or arg == '--config' for arg in argv):
    return argv
  words = ' '.join(argv).replace('=', ' ').split()
  task = words[words.index('--task') + 1:][:1] if '--task' in words else []
  configs = pathlib.Path(__file__).resolve().parents[1] / 'configs'
  file = configs / f'prior_{"".join(task)}.py'
  if not file.is_file():
    return argv
  return [argv[0], f'--config={file}', *argv[1:]]


if __name__ == '__main__':
  sys.argv = with_config(sys.argv)
  common.run(main)
