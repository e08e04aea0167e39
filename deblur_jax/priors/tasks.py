"""The tasks of deep image priors, one record each in `TASKS`.

A record has all that the programs need to know of a task: its preset (the
config of a fit), the inputs and the options that apply, how the papers make a
problem from a sharp picture, and how a result is measured. A new task is a
record here and a file configs/prior_TASK.py.
"""

import functools
import inspect
import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from deblur_jax import errors
from deblur_jax.blur import kernels, operators
from deblur_jax.data import images
from deblur_jax.ops import bit_depth
from deblur_jax.priors import baselines
from deblur_jax.state import Batch


class Task(NamedTuple):
  """One task.

  Attributes:
    title: what it does to a photo, for the page.
    preset: the config of a fit as plain dicts, with the numbers of the papers.
    debug: {dotted config key: value}, what a tiny fit of two chunks changes in
      the preset, for tests.
    quick: the same for a fit that a person waits for. Tasks that have it are on
      the page and in `deblur prior`.
    needs: inputs beside the picture without which there is no problem: of
      'mask', 'kernel' and 'guide'.
    accepts: inputs that may be given.
    settings: option -> function of its value that gives {dotted config key:
      value}.
    scaled: config keys of counts of steps that keep their share of total_steps.
    corrupt: (random, sharp [h, w, c], *, options) -> {'observed', 'sharp',
      ...}, the problem as the papers make it; 'mask' and 'kernel' are arrays.
      None where a sharp picture does not determine the problem.
    input, classical: what the fit is compared with in tables: the picture, as
      large as the result, and a classical method.
    metric: the row of `metrics.METRICS` that the papers use.
    found: names of what a fit estimates beside the image.
    suffix: of the names of results of `deblur prior`.
    paper: what the papers report.
  """

  title: str
  preset: Mapping[str, Any]
  debug: Mapping[str, Any]
  quick: Mapping[str, Any] | None = None
  needs: tuple[str, ...] = ()
  accepts: tuple[str, ...] = ()
  settings: Mapping[str, Callable[[int], dict[str, Any]]] = {}
  scaled: tuple[str, ...] = ()
  corrupt: Callable[..., Batch] | None = None
  input: baselines.Baseline = baselines.observed
  classical: baselines.Baseline | None = None
  metric: str = 'psnr_float'
  found: tuple[str, ...] = ()
  suffix: str = ''
  paper: str = ''

  def options(self, *, made: bool = False) -> set[str]:
    """Names of the inputs and options that apply.

    Args:
      made: whether problems are made from sharp pictures, not read.
    """
    if made and self.corrupt:
      found = {*inspect.getfullargspec(self.corrupt).kwonlyargs}
    else:
      found = {*self.needs, *self.accepts}
    return found.union(
        self.settings, ('correlation',) if 'kernel' in found else ())


def config(
    name: str, variant: str = 'full', *, steps: int | None = None,
    chunk: int | None = None, seed: int = 0, **options: int) -> dict[str, Any]:
  """The config of a fit, as `solve.run` takes it.

  Args:
    name: a row of TASKS.
    variant: 'full', 'quick' or 'debug'.
    steps: at most, at least 1, rounded up to a multiple of the chunk; by
      default those of the variant.
    chunk: steps from one look at the fit to the next, at least 1.
    seed: of the first parameters and of the noise, 0 to 2**31 - 1.
    **options: of the task's `settings`; None leaves the variant's value.

  Raises:
    UserError: an unknown task, a variant that it does not have, an option of
      another task, a number out of range.
  """
  task = errors.look_up(TASKS, name, what='task')
  changes = {'full': {}, 'debug': task.debug} | (
      {'quick': task.quick} if task.quick is not None else {})
  made = _copy(task.preset)
  _change(made, errors.look_up(changes, variant, what=f'variant of {name}'))
  if not 0 <= seed < 2**31:
    raise errors.UserError(f'The seed must be 0 to {2**31 - 1}, got {seed}.')
  usual = made['total_steps']
  chunk = made['chunk'] if chunk is None else chunk
  steps = usual if steps is None else steps
  if chunk < 1 or steps < 1:
    raise errors.UserError('A fit takes at least 1 step.')
  total = -(-steps // chunk) * chunk
  made |= {'seed': seed, 'chunk': chunk, 'total_steps': total}
  _change(made, {key: max(1, _get(made, key) * total // usual)
                 for key in task.scaled})
  return changed(made, name, options)


def quick(name: str, variant: str = 'quick', **options) -> dict[str, Any]:
  """`config` of a task for a photo: one that has a quick variant.

  Args:
    name: a row of TASKS that is in QUICK.
    variant: see `config`.
    **options: see `config`.

  Raises:
    UserError: another task, or what `config` refuses.
  """
  errors.look_up({task: task for task in QUICK}, name, what='task')
  return config(name, variant, **options)


def changed(
    config: Mapping[str, Any], name: str, options: Mapping[str, int | None]
) -> dict[str, Any]:
  """A copy of a config with a task's options set.

  Args:
    config: of a fit, plain dicts.
    name: a row of TASKS.
    options: of the task's `settings`; None changes nothing.

  Raises:
    UserError: an option of another task, a value out of range.
  """
  check_options(name, options)
  made = _copy(config)
  for option, value in options.items():
    if value is not None:
      _change(made, TASKS[name].settings[option](value))
  return made


def check_options(
    name: str, given: Mapping[str, Any], *, made: bool = False) -> None:
  """Refuses inputs and options that do not apply to a task.

  Args:
    name: a row of TASKS.
    given: by name; None was not given.
    made: whether problems are made from sharp pictures, not read.

  Raises:
    UserError: an unknown task, or an option that only other tasks have.
  """
  task = errors.look_up(TASKS, name, what='task')
  if made and not task.corrupt:
    raise errors.UserError(
        f'Problems of the task {name} cannot be made from sharp pictures; give '
        '--input.')
  own = task.options(made=made)
  for option, value in given.items():
    if value is not None and option not in own:
      others = [other for other, one in TASKS.items()
                if option in one.options(made=made)]
      raise errors.UserError(
          f'The task {name} has no option {option}'
          + (f'; it is for {", ".join(others)}.' if others else '.'))


def _copy(tree):
  """Of nested dicts; one that stands in two places becomes two."""
  return {key: _copy(value) for key, value in tree.items()} if isinstance(
      tree, Mapping) else tree


def _change(made, changes):
  """Sets dotted keys in nested dicts."""
  for key, value in changes.items():
    folder, _, leaf = key.rpartition('.')
    (_get(made, folder) if folder else made)[leaf] = value


def _get(made, key):
  return functools.reduce(dict.__getitem__, key.split('.'), made)


# ---- options -> config keys

def _factor(value):
  return {'method.factor': value}


def _kernel_size(value):
  if value < 3 or value % 2 == 0:
    raise errors.UserError(
        f'The kernel size must be odd and at least 3, got {value}.')
  return {'nets.kernel.size': (value, value)}


# ---- a sharp picture -> a problem, as the papers make it

def noisy(random, sharp, *, sigma: float = 25.0, impulse: float = 0.0):
  """Gaussian noise, clipped, then salt and pepper.

  Args:
    random: a `numpy.random.Generator`.
    sharp: float32 [h, w, c] in [0, 1].
    sigma: standard deviation of the noise, in levels of 255.
    impulse: share of the values that are 0 or 1 instead.
  """
  found = np.clip(
      sharp + random.normal(size=sharp.shape) * (sigma / 255), 0, 1)
  if impulse:
    lost = random.random(sharp.shape) < impulse
    found = np.where(lost, random.integers(0, 2, sharp.shape), found)
  return {'observed': found.astype(np.float32), 'sharp': sharp}


def downsampled(random, sharp, *, factor: int):
  """Smaller by a factor, with Pillow's Lanczos filter as in DIP's program."""
  del random
  size = tuple(side // factor for side in sharp.shape[:2])
  small = images.resize_planes(bit_depth.to_uint8(sharp), size=size)
  return {'observed': bit_depth.to_float(small), 'sharp': sharp}


def with_holes(
    random, sharp, *, mask: np.ndarray | None = None, missing: float = 0.5):
  """Without the pixels where the mask [h, w, 1] is 0.

  Args:
    random: a `numpy.random.Generator`.
    sharp: float32 [h, w, c] in [0, 1].
    mask: 1 where the picture is known; by default pixels are lost at random.
    missing: share of the pixels that are lost where there is no mask.
  """
  if mask is None:
    mask = random.random(sharp.shape[:2])[..., None] >= missing
  mask = mask.astype(np.float32)
  return {'observed': sharp * mask, 'mask': mask, 'sharp': sharp}


def compressed(random, sharp, *, quality: int = 10):
  """After JPEG of a quality of 1 to 100, with Pillow's subsampled colours."""
  del random
  file, pixels = io.BytesIO(), bit_depth.to_uint8(sharp)
  Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
      file, 'jpeg', quality=quality)
  decoded = np.asarray(Image.open(file)).reshape(sharp.shape)
  return {'observed': bit_depth.to_float(decoded), 'sharp': sharp}


def blurred(random, sharp, *, kernel: np.ndarray):
  """Convolved with a kernel [kh, kw], which the problem keeps.

  Pixels whose blur reads beyond the border are cut off, also from 'sharp'.
  """
  del random
  kernel = kernel.astype(np.float32)
  found = np.asarray(operators.uniform(kernel, border='valid').forward(
      sharp[None]))[0]
  return {'observed': found, 'kernel': kernel, 'sharp': kernels.crop_scene(
      sharp, kernel.shape, picture=found.shape[:2])}


def blurred_blindly(random, sharp, *, kernel: np.ndarray):
  """The same, and the problem does not have the kernel."""
  batch = blurred(random, sharp, kernel=kernel)
  del batch['kernel']
  return batch


# ---- presets: half of the channels, for a quick fit, and a tiny network

_CHANNELS, _HALF = (128,) * 5, (64,) * 5
_QUICK = {'total_steps': 1000, 'chunk': 10}
_DEBUG = {'total_steps': 4, 'chunk': 2}
_TINY = _DEBUG | {
    'nets.net.down': (4,), 'nets.net.skip': 0, 'nets.net.depth': 4}


def _skip(**options):
  """The network of deep image prior (supplement, fig. 21), with changes."""
  return dict(name='skip', depth=32, channels=3, down=_CHANNELS, skip=4,
              upsample='bilinear', dtype='float32') | options


def _adam(lr, *, halved_at=()):
  """Adam, its rate halved after these shares of the steps."""
  falling = dict(schedule='step', boundaries=halved_at, factor=0.5)
  return dict(name='adam', lr=lr) | (falling if halved_at else {})


def _preset(total_steps, nets, optim, **method):
  return dict(seed=0, total_steps=total_steps, chunk=50, method=method,
              nets=nets, optim=optim)


def _deep(total_steps, net, optim, **method):
  """Of the method `deep_prior`."""
  return _preset(
      total_steps, dict(net=net), dict(net=optim), name='deep_prior',
      loss='mse', average=0.99, **method)


# SelfDeblur's network for the image.
_SELFDEBLUR = _skip(depth=8, skip=16, attention=(2, 3, 4))
# One layer of Double-DIP, and the network for JPEG.
_SMALL = _skip(depth=2, down=(8, 16, 32, 64, 128), skip=(0, 0, 0, 4, 4))

TASKS: Mapping[str, Task] = {
    'blend': Task(
        'split into two layers',
        _preset(
            4000, dict(first=_SMALL, second=_SMALL,
                       mask=_SMALL | dict(channels=1)),
            dict.fromkeys(('first', 'second', 'mask'), _adam(1e-3)),
            name='double_prior', loss='mse', exclusion=0.1, binary=0.01,
            hint=1.0, hint_steps=500, jitter=1 / 30, average=0.99,
            result='last', stopping=dict(name='fixed')),
        debug=_DEBUG | {
            f'nets.{name}.{key}': value
            for name in ('first', 'second', 'mask')
            for key, value in (('down', (4,)), ('skip', (0,)))},
        accepts=('hint',), scaled=('method.hint_steps',),
        found=('first', 'mask', 'second')),
    'blind': Task(
        'sharpen, with unknown blur',
        _preset(
            5000, dict(image=_SELFDEBLUR,
                       kernel=dict(name='kernel_net', size=(31, 31))),
            dict(image=_adam(1e-2, halved_at=(0.4, 0.6, 0.8)),
                 kernel=_adam(1e-4, halved_at=(0.4, 0.6, 0.8))),
            name='blind_prior', losses_in_turn=('mse', 'ssim'), turn=1000,
            jitter=1e-3, average=0.99, result='last',
            stopping=dict(name='fixed')),
        debug=_DEBUG | {
            'method.turn': 2, 'nets.image.down': (4,), 'nets.image.skip': 0,
            'nets.image.attention': (), 'nets.image.depth': 4,
            'nets.kernel.size': (5, 5), 'nets.kernel.hidden': 8},
        quick=_QUICK | {'method.turn': 200, 'nets.image.down': _HALF,
                        'nets.kernel.size': (15, 15)},
        settings={'kernel_size': _kernel_size}, scaled=('method.turn',),
        corrupt=blurred_blindly,
        classical=baselines.classical_blind,
        metric='psnr_shift', found=('kernel',), suffix='_deblurred',
        paper="33.07 dB on Levin's 32 pictures (SelfDeblur, its number)"),
    'deblur': Task(
        'sharpen with a known kernel',
        _deep(1000, _SELFDEBLUR, _adam(1e-2, halved_at=(0.7, 0.8, 0.9)),
              code='noise', jitter=1e-3, result='last',
              stopping=dict(name='fixed')),
        debug=_TINY | {'nets.net.attention': ()}, needs=('kernel',),
        corrupt=blurred,
        classical=baselines.hyper_laplacian),
    'denoise': Task(
        'take noise away',
        _deep(3000, _skip(), _adam(1e-2), code='noise', jitter=1 / 30,
              result='best_average', stopping=dict(name='emv')),
        debug=_TINY, quick=_QUICK | {'nets.net.down': _HALF}, corrupt=noisy,
        classical=baselines.non_local_means,
        suffix='_denoised',
        paper='30.43 dB at sigma 25 on nine pictures, averaged outputs of one '
              'fit that was stopped by looking (its number)'),
    'flash': Task(
        'take noise away, by a picture with flash',
        _deep(600, _skip(depth=3, upsample=(
            'nearest', 'nearest', 'bilinear', 'bilinear', 'bilinear')),
              _adam(1e-1), code='guide', jitter=0.0, result='last',
              stopping=dict(name='fixed')),
        debug=_TINY | {'nets.net.depth': 3, 'nets.net.upsample': ('nearest',)},
        needs=('guide',)),
    'inpaint': Task(
        'fill what a mask has black',
        _deep(6000, _skip(skip=128, upsample='nearest'), _adam(1e-2),
              code='noise', jitter=0.03, result='average',
              stopping=dict(name='fixed')),
        debug=_TINY,
        quick=_QUICK | {'nets.net.down': _HALF, 'nets.net.skip': 64},
        needs=('mask',), corrupt=with_holes,
        input=baselines.nearest_known, classical=baselines.biharmonic,
        suffix='_filled'),
    'jpeg': Task(
        'take artefacts of JPEG away',
        _deep(2400, _SMALL | dict(depth=3), _adam(1e-2), code='noise',
              jitter=1 / 30, result='best_average', stopping=dict(name='emv')),
        debug=_TINY | {'nets.net.skip': (0,)}, corrupt=compressed,
        classical=baselines.non_local_means),
    'sr': Task(
        'make it larger',
        _deep(2000, _skip(), _adam(1e-2), factor=4, code='noise', jitter=0.03,
              result='average', stopping=dict(name='fixed')),
        debug=_TINY,
        quick=_QUICK | {'nets.net.down': _HALF, 'method.factor': 2},
        settings={'factor': _factor}, corrupt=downsampled,
        input=baselines.nearest_pixel, classical=baselines.bicubic,
        metric='psnr_luma_shaved', suffix='_larger',
        paper='29.90 dB on Set5 at factor 4, luma (its number)'),
}
# Those that a person may wait for.
QUICK = [name for name, task in TASKS.items() if task.quick is not None]
