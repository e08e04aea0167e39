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
experiments.prior_start has learned; --start=RUN with what an `hourglass` has
learned of pairs, with --config.method.code=observed. --luma fits luma only and
keeps the colours.
"""

import itertools
import pathlib
import sys

import tqdm
from absl import flags
from ml_collections import config_flags

from experiments import common, published_results

TASK = flags.DEFINE_string('task', None, 'See above.', required=True)
_INPUT = flags.DEFINE_string('input', None, 'Picture or folder.')
OUTPUT = flags.DEFINE_string('output', None, 'Folder.', required=True)
_TRUTH = flags.DEFINE_string('truth', None, 'Sharp picture or folder.')
_MASK = flags.DEFINE_string('mask', None, 'Picture or folder; white is known.')
_GUIDE = flags.DEFINE_string('guide', None, 'Picture with flash, or folder.')
_HINT = flags.DEFINE_string(
    'hint', None, 'Picture or folder; white is of the first layer.')
_KERNEL = flags.DEFINE_string('kernel', None, '.npz, .npy, picture or folder.')
_CORRELATION = flags.DEFINE_bool(
    'correlation', False, 'The kernels are meant for cross-correlation.')
_KERNEL_SIZE = flags.DEFINE_integer('kernel_size', None, 'Odd; for blind.')
_FACTOR = flags.DEFINE_integer('factor', None, 'For sr.', lower_bound=2)
_SIGMA = flags.DEFINE_float('sigma', 25.0, 'Noise that is added, of 255.')
_MISSING = flags.DEFINE_float(
    'missing', 0.5, 'Share of pixels that is taken away.', lower_bound=0,
    upper_bound=1)
_IMPULSE = flags.DEFINE_float(
    'impulse', 0.0, 'Share of values that are made 0 or 1.', lower_bound=0,
    upper_bound=1)
_QUALITY = flags.DEFINE_integer('quality', 10, 'Of JPEG.', 1, 100)
_CROP = flags.DEFINE_integer(
    'crop', 0, 'Side of the part that is taken.', lower_bound=0)
_GRAY = flags.DEFINE_bool('gray', False, 'One channel of luma.')
_LUMA = flags.DEFINE_bool('luma', False, 'Fit luma, keep the chroma.')
_START = flags.DEFINE_string(
    'start', None, 'A file of experiments.prior_start, or a run.')
_WARM = flags.DEFINE_bool('warm', False, 'Begin with the picture before.')
_PARAMS = flags.DEFINE_bool(
    'params', False, 'Write NAME_params.npz too, a start for others.')
_SEEDS = flags.DEFINE_integer(
    'seeds', 1, 'Fits of each picture; the best counts.', lower_bound=1)
AT_ONCE = flags.DEFINE_integer(
    'at_once', 1, 'Pictures that are fitted together.', lower_bound=1)
# Not locked: options of a method have their defaults in its signature, and
# methods refuse unknown ones.
_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'By default configs/prior_TASK.py.', lock_config=False,
    accept_new_attributes=True)

# task -> the method that solves it, where it is not the deep prior
METHODS = {'blend': 'double_prior', 'blind': 'blind_prior'}


def main(argv):
  """Returns 0."""
  del argv
  from deblur_jax.evaluation.report import render
  from deblur_jax.priors import solve

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

    result = solve.run(
        config, tasks, OUTPUT.value, task=TASK.value, on_steps=on_steps,
        **fit_options())
  if result['mean']:
    head, *body = solve.results.table(result)
    print(render.table(head, body))
    if TASK.value in published_results.PRIORS:
      print(f'The paper reports {published_results.PRIORS[TASK.value]}.')
  for name, row in result['rows'].items():
    if 'gap' in row:
      print(f"{name}: the best average that there was is {row['gap']:.2f} dB "
            'better than the one that the rule kept.')
    if 'not_measured' in row:
      print(f"{name}: not measured. {row['not_measured']}")
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
  from deblur_jax import errors
  from deblur_jax.priors import solve

  task = TASK.value
  errors.look_up(solve.problems.TASKS, task, what='task')
  config = _CONFIG.value.to_dict()
  solve.check(config)
  wanted, name = METHODS.get(task, 'deep_prior'), config['method'].get('name')
  if name != wanted:
    raise errors.UserError(
        f'--task={task} is for method.name={wanted}, and the config has '
        f'{name}.')
  for flag, owner in (('factor', 'sr'), ('kernel_size', 'blind')):
    if flags.FLAGS[flag].value is not None and task != owner:
      raise errors.UserError(f'--{flag} belongs to --task={owner}.')
  if _FACTOR.value is not None:
    config['method']['factor'] = _FACTOR.value
  if _KERNEL_SIZE.value is not None:
    config['nets']['kernel']['size'] = (_KERNEL_SIZE.value,) * 2
  if _GRAY.value or _LUMA.value:
    for name in config['nets'].keys() - {'kernel', 'mask'}:
      config['nets'][name]['channels'] = 1
  return config


def fit_options():
  """Of `solve.run`, what the flags say."""
  from deblur_jax.priors import solve

  return dict(
      seeds=_SEEDS.value, at_once=AT_ONCE.value, warm=_WARM.value,
      params=_PARAMS.value,
      start=solve.starts.read(_START.value) if _START.value else None)


def problems(config):
  """What the flags describe, as a list of problems."""
  from deblur_jax import errors
  from deblur_jax.priors import solve

  factor = config['method'].get('factor', 1)
  if _INPUT.value is None:
    if _TRUTH.value is None:
      raise errors.UserError('Give --input, or --truth to be corrupted.')
    if _LUMA.value:
      raise errors.UserError(
          '--luma is for observed pictures: give --input, or --gray.')
    tasks = solve.problems.make(
        _TRUTH.value, task=TASK.value, factor=factor, sigma=_SIGMA.value,
        missing=_MISSING.value, quality=_QUALITY.value, mask=_MASK.value,
        kernel=_KERNEL.value, crop=_CROP.value, gray=_GRAY.value,
        impulse=_IMPULSE.value, correlation=_CORRELATION.value)
  else:
    for name in ('crop', 'impulse', 'missing', 'quality', 'sigma'):
      if flags.FLAGS[name].present:
        raise errors.UserError(
            f'--{name} is for pictures that are corrupted here; leave out '
            '--input.')
    tasks = solve.problems.read(
        _INPUT.value, task=TASK.value, factor=factor, truth=_TRUTH.value,
        mask=_MASK.value, kernel=_KERNEL.value, guide=_GUIDE.value,
        hint=_HINT.value, gray=_GRAY.value, luma=_LUMA.value,
        correlation=_CORRELATION.value)
  if config['method'].get('guide'):
    size = max(config['nets']['kernel']['size'])
    tasks = [solve.problems.with_classical_start(one, size=size)
             for one in tasks]
  return tasks


def with_config(argv):
  """The command line with the config of its task, where it gives none.

  A --config.KEY=VALUE is known only after a --config.
  """
  if any(arg.partition('=')[0].lstrip('-') == 'config' for arg in argv):
    return argv
  words = ' '.join(argv).replace('=', ' ').split()
  task = [after for word, after in itertools.pairwise(words)
          if word.lstrip('-') == 'task' and word[0] == '-'][:1]
  configs = pathlib.Path(__file__).resolve().parents[1] / 'configs'
  file = configs / f'prior_{"".join(task)}.py'
  if not file.is_file():
    return argv
  return [argv[0], f'--config={file}', *argv[1:]]


if __name__ == '__main__':
  sys.argv = with_config(sys.argv)
  common.run(main)
