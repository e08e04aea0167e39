r"""Evaluates models on camera shake: the gain in PSNR by the size of the blur.

  python -m experiments.evaluate_shake --photos=DIR,... --kernels=FILE.npz \
      --models=maxim-2,maxim-1,small,runs/mine --out=shake.json

Blurs the middle of each photo in linear light: by one kernel of each group of
sizes, and by a camera that shakes in six degrees of freedom. Then it adds what
a camera adds: noise, and JPEG of quality 90 to 98. The size of a kernel is the
longer side of the part that is brighter than 1 % of its maximum; its centre of
mass is centred. No model may be trained on these photos and kernels.

Prints the mean PSNR of the blurred pictures and the gain of each model, both
after the best shift, because a blind method can determine a picture only up to
a shift. --part=0,0.5 uses the first half of the kernels only.
"""

import pathlib
import sys

import numpy as np
import tqdm
from absl import flags

from experiments import common

_PHOTOS = flags.DEFINE_list(
    'photos', None, 'Folders of sharp photos.', required=True)
_KERNELS = flags.DEFINE_string(
    'kernels', None, 'File (.npz, .npy or picture) or folder.', required=True)
_PART = flags.DEFINE_list('part', ['0', '1'], 'Share of the kernels: FROM,TO.')
_MODELS = flags.DEFINE_list(
    'models', None, 'Names or runs; by default all bundled.')
_WITH = flags.DEFINE_string(
    'with', '', "Use only photos with this in the name.")
_CROP = flags.DEFINE_integer('crop', 256, 'Side of the middle, pixels.',
                             lower_bound=1)
_SEED = flags.DEFINE_integer('seed', 0, 'Seed of all random numbers.',
                             lower_bound=0)
_OUT = flags.DEFINE_string(
    'out', None, 'JSON file to write, one row a picture.')

SIZES = ((1, 10), (11, 20), (21, 30), (31, 64))    # of kernels, pixels
SHAKES = {'6-DoF, weak': 0.02, '6-DoF, strong': 0.06}    # radians
GAMMA = 2.2
CAMERA = dict(
    gamma=GAMMA, shot=(0.0, 5e-4), read=(0.0, 2e-3), quality=(90.0, 98.0),
    bits=8)
FAINT = 0.01


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.ops import atomic_files, precision

  precision.ask_for_onednn()
  from deblur_jax.evaluation.report import render
  from deblur_jax.inference import tiling
  from deblur_jax.pretrained import zoo
  from deblur_jax.training import workdir

  if _OUT.value:
    atomic_files.check(_OUT.value)
  blurred = list(_blurred())
  names = _MODELS.value or zoo.names()
  rows = [{'group': group, 'photo': photo, 'input': _psnr(blur, sharp)}
          for group, photo, blur, sharp in blurred]
  for name in names:
    model = zoo.load(name, dtype=zoo.AUTO)
    restore = tiling.build(model.method, model.state, model.mesh,
                           exact=model.exact, **model.tiling)
    for row, (_, _, blur, sharp) in zip(rows, tqdm.tqdm(
        blurred, desc=name, file=sys.stderr, disable=None), strict=True):
      row[name] = _psnr(restore(blur).image, sharp)
  print(render.table(['blur', 'pictures', 'input', *names],
                     list(_lines(rows, names))), end='')
  if _OUT.value:
    workdir.write_json(pathlib.Path(_OUT.value), rows)


def _lines(rows, names):
  for group in dict.fromkeys(row['group'] for row in rows):
    these = [row for row in rows if row['group'] == group]
    mean = lambda key, these=these: np.mean([row[key] for row in these])
    yield [group, str(len(these)), f'{mean("input"):.2f}',
           *(f'{mean(name) - mean("input"):+.2f}' for name in names)]


def _blurred():
  """(group, photo, blurred [h, w, 3], sharp) of each picture."""
  import jax

  from deblur_jax.blur import sensor, shake
  from deblur_jax.data import images
  from deblur_jax.evaluation import blur_estimates as kernel_scores

  photos = [(name, path) for folder in _PHOTOS.value
            for name, path in images.require(folder).items()
            if _WITH.value in name]
  groups = _groups()
  add_camera = jax.jit(sensor.build(**CAMERA))
  shaken = jax.jit(lambda key, sharp, rotation: shake.camera_shake(
      key, sharp, frames=41, rotation=rotation, roll=rotation,
      gamma=GAMMA)['blur'])
  by_kernel = jax.jit(_by_kernel)
  for number, (name, path) in enumerate(photos):
    sharp = kernel_scores.middle(images.read(path), _CROP.value, where=path)
    key = jax.random.fold_in(jax.random.key(_SEED.value), number)
    random = np.random.default_rng((_SEED.value, number))
    pictures = {group: by_kernel(sharp, kernels[random.integers(len(kernels))])
                for group, kernels in groups.items()}
    pictures |= {group: shaken(key, sharp, rotation)
                 for group, rotation in SHAKES.items()}
    for place, (group, blur) in enumerate(pictures.items()):
      taken = add_camera(jax.random.fold_in(key, place), {
          'blur': blur[None], 'sharp': sharp[None]})
      yield group, name, np.asarray(taken['blur'][0]), sharp


def _groups():
  """Title -> the kernels of that size, each centred in a square."""
  from deblur_jax.data import kernel_files

  named = kernel_files.read_all(_KERNELS.value)
  low, high = (round(share * len(named)) for share in _part())
  groups = {f'kernels up to {most} px': [] for _, most in SIZES}
  for kernel in list(named.values())[low:high]:
    rows, columns = np.nonzero(kernel > FAINT * kernel.max())
    size = max(np.ptp(rows), np.ptp(columns)) + 1
    for title, (least, most) in zip(groups, SIZES, strict=True):
      if least <= size <= most:
        groups[title].append(_centred(kernel))
  return {title: kernels for title, kernels in groups.items() if kernels}


def _part():
  """The two shares of --part."""
  from deblur_jax import errors

  try:
    low, high = map(float, _PART.value)
    if 0 <= low < high <= 1:
      return low, high
  except ValueError:
    pass
  raise errors.UserError(
      f'--part={",".join(_PART.value)} must be two numbers such as 0,0.5.')


def _centred(kernel, side=2 * SIZES[-1][1] + 1):
  """The kernel with its centre of mass in the middle of a square."""
  grid = np.indices(kernel.shape)
  top, left = (side // 2 - round(float((axis * kernel).sum() / kernel.sum()))
               for axis in grid)
  large = np.zeros((side, side), np.float32)
  height, width = kernel.shape
  large[top:top + height, left:left + width] = kernel
  return large / large.sum()


def _by_kernel(sharp, kernel):
  from deblur_jax.blur import exposure, operators

  light = operators.uniform(kernel, border='reflect').forward(
      exposure.to_light(sharp, gamma=GAMMA)[None])[0]
  return exposure.to_stored(light.clip(0, 1), gamma=GAMMA)


def _psnr(image, sharp):
  """PSNR after the best shift."""
  from deblur_jax.metrics import shift

  return float(shift.psnr_shift(np.asarray(image)[None], sharp[None])[0])


if __name__ == '__main__':
  common.run(main)
