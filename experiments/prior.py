r"""Restores pictures by deep image priors: a fit to each, without training.

  python -m experiments.prior --task=denoise --input=noisy.png --out=OUT
  python -m experiments.prior --task=sr --factor=4 --input=DIR --out=OUT
  python -m experiments.prior --task=inpaint --input=photo.png --mask=mask.png \
      --out=OUT
  python -m experiments.prior --task=blind --kernel_size=19 --seeds=2 \
      --input=blurred.png --out=OUT

Tasks: denoise, jpeg, sr (--factor), inpaint (--mask: white is known), deblur
(--kernel), blind (--kernel_size), flash (--guide: the picture with flash) and
blend (optional --hint). With --truth the table has PSNR. With --truth and
without --input the truth is corrupted as in the papers: --sigma, --impulse,
--factor, --missing or --mask, --quality, --kernel; --crop takes a square from
its middle.

The same command again keeps finished pictures, and resumes a stopped fit from
its last save. A fit is saved every five minutes.

--config is by default configs/prior_TASK.py; any value can be changed:
--config.total_steps=800. --at_once pictures of one size are fitted together,
over all devices. With --warm each fit begins with the parameters of the fit
before, for the frames of a video. --start=FILE begins with what
experiments.prior_start learned, and --start=RUN with an `hourglass` that was
trained on pairs (set --config.method.code=observed too). --luma fits the luma
only and keeps the chroma of the picture.
"""

import functools
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import tqdm
from absl import flags

from experiments import common, config_flag

# Flags of one kind of problem: read from files, or made from the truth.
READ = ('guide', 'hint', 'kernel', 'mask', 'correlation')
MADE = ('impulse', 'missing', 'quality', 'sigma', 'kernel', 'mask',
        'correlation')
SETTINGS = ('factor', 'kernel_size')


def define_problem_flags(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines the task and the problems, for programs that fit them.

  Args:
    values: where to define them.
  """
  define_string, define_integer, define_float, define_bool = (
      functools.partial(define, flag_values=values) for define in (
          flags.DEFINE_string, flags.DEFINE_integer, flags.DEFINE_float,
          flags.DEFINE_bool))
  define_string('task', None, 'What to do: denoise, sr, inpaint, ...')
  define_string('input', None, 'Picture or folder.')
  define_string('truth', None, 'Sharp picture or folder.')
  define_string('mask', None, 'Picture or folder; white is known.')
  define_string('guide', None, 'Picture with flash, or folder.')
  define_string('hint', None, 'Picture or folder; white is in the first layer.')
  define_string('kernel', None, '.npz, .npy, picture or folder.')
  define_bool('correlation', None, 'The kernels are for cross-correlation.')
  define_integer('kernel_size', None, 'For blind: odd, in pixels.',
                 lower_bound=1)
  define_integer('factor', None, 'For sr.', lower_bound=2)
  define_float('sigma', None, 'Noise to add, in levels of 255 (25).',
               lower_bound=0)
  define_float('missing', None, 'Share of the pixels to remove (0.5).',
               lower_bound=0, upper_bound=1)
  define_float('impulse', None, 'Share of the values to set to 0 or 1 (0).',
               lower_bound=0, upper_bound=1)
  define_integer('quality', None, 'Of JPEG (10).', lower_bound=1,
                 upper_bound=100)
  define_integer('crop', None, 'Side in pixels of the middle to take.',
                 lower_bound=0)
  define_bool('gray', False, 'One channel of luma.')
  define_bool('luma', False, 'Fit the luma, keep the chroma.')
  define_integer('at_once', 1, 'Pictures to fit together.', lower_bound=1)


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines those and the fits, for `experiments.ablate` too.

  Args:
    values: where to define them.
  """
  define_problem_flags(values)
  define_string, define_bool, define_integer = (
      functools.partial(define, flag_values=values) for define in (
          flags.DEFINE_string, flags.DEFINE_bool, flags.DEFINE_integer))
  define_string('start', None, 'A file of experiments.prior_start, or a run.')
  define_bool('warm', False, 'Begin with the parameters of the fit before.')
  define_bool('params', False, 'Write NAME_params.npz, a start for others.')
  define_integer('seeds', 1, 'Fits of each picture; the best counts.',
                 lower_bound=1)


def define_program_flags(out: str) -> None:
  """Defines the output and the config, and makes the task required.

  Args:
    out: the text of --help for --out.
  """
  flags.mark_flag_as_required('task')
  flags.DEFINE_string('out', None, out, required=True)
  config_flag.define('By default configs/prior_TASK.py.')


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.evaluation.report import render
  from deblur_jax.priors import initialization, results, solve, tasks

  options = flags.FLAGS
  config = complete(read_config())
  found = read_problems(config)
  total = config['total_steps']
  with tqdm.tqdm(file=sys.stderr, unit='step', total=total * len(found),
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
        config, found, options.out, task=options.task, on_steps=on_steps,
        seeds=options.seeds, at_once=options.at_once, warm=options.warm,
        params=options.params,
        start=initialization.read(options.start) if options.start else None)
  if result['mean']:
    head, *body = results.table(result)
    print(render.table(head, body))
    if paper := tasks.TASKS[options.task].paper:
      print(f'The paper reports {paper}.')
  for name, row in result['rows'].items():
    if round(row.get('gap', 0), 2) > 0:
      print(f'{name}: the best average of all steps is {row["gap"]:.2f} dB '
            'better than the one that the rule kept.')
    if 'not_measured' in row:
      print(f"{name}: not measured. {row['not_measured']}")
    if row['dead']:
      print(f'{name}: all fits failed: {row["failure"]}; try a lower learning '
            'rate.')
    elif row['back']:
      print(f'{name}: the fit became worse {row["back"]} times and returned to '
            'earlier parameters.')
  print(f'{len(found)} pictures are in {options.out}.')


def complete(
    config: Mapping[str, Any], options: flags.FlagValues = flags.FLAGS
) -> dict[str, Any]:
  """The config with what the flags set.

  Args:
    config: plain dicts.
    options: of `define_problem_flags`.

  Raises:
    UserError: an unknown task, a config of another method, an option of another
      task.
  """
  from deblur_jax import errors
  from deblur_jax.priors import solve, tasks

  task = errors.look_up(tasks.TASKS, options.task, what='task')
  solve.check(config)
  wanted, name = task.preset['method']['name'], config['method'].get('name')
  if name != wanted:
    raise errors.UserError(
        f'--task={options.task} is for method.name={wanted}, and the config '
        f'has {name}.')
  config = tasks.changed(
      config, options.task, {name: options[name].value for name in SETTINGS})
  if options.gray or options.luma:
    for name in config['nets'].keys() - {'kernel', 'mask'}:
      config['nets'][name]['channels'] = 1
  return config


def read_problems(
    config: Mapping[str, Any], options: flags.FlagValues = flags.FLAGS
) -> list[Any]:
  """The problems that the flags describe.

  Args:
    config: of `complete`.
    options: of `define_problem_flags`.

  Raises:
    UserError: flags that do not go together, see `problems.read` and `make`.
  """
  from deblur_jax import errors
  from deblur_jax.priors import problems

  factor = config['method'].get('factor', 1)
  given = lambda names: {name: options[name].value for name in names
                         if options[name].value is not None}
  if options.input is None:
    if options.truth is None:
      raise errors.UserError('Give --input, or --truth to be corrupted.')
    if options.luma:
      raise errors.UserError(
          '--luma is for pictures as they are: give --input, or --gray.')
    found = problems.make(
        options.truth, task=options.task, factor=factor, gray=options.gray,
        **given((*MADE, *READ, 'crop')))
  else:
    for name in {*MADE, 'crop'} - {*READ}:
      if options[name].value is not None:
        raise errors.UserError(
            f'--{name} corrupts a sharp picture: give --truth without --input.')
    found = problems.read(
        options.input, task=options.task, factor=factor, truth=options.truth,
        gray=options.gray, luma=options.luma, **given(READ))
  if config['method'].get('guide'):
    size = max(config['nets']['kernel']['size'])
    found = [problems.with_classical_start(one, size=size) for one in found]
  return found


def config_of(task: str) -> pathlib.Path:
  """The config file of a task, which may not exist."""
  return common.ROOT / 'configs' / f'prior_{task}.py'


def read_config() -> dict[str, Any]:
  """The config of the flags, by default that of the task.

  Raises:
    UserError: an unknown task, or as `config_flag.load`.
  """
  from deblur_jax import errors
  from deblur_jax.priors import tasks

  task = flags.FLAGS.task
  errors.look_up(tasks.TASKS, task, what='task')
  return config_flag.value(str(config_of(task))).to_dict()


if __name__ == '__main__':
  define_flags()
  define_program_flags('Folder to write.')
  flags.DEFINE_alias('output', 'out')    # its name in older commands
  common.run(main)
