"""Training sets of the bundled models: made, restored by a teacher, decoded.

Existing files are kept, so a stopped program resumes.
"""

import os
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import tqdm

Source = dict[str, Any]    # keywords of `data.open_source`


def pairs(
    plans: Mapping[str, Any], folder: pathlib.Path, *, subset: str = 'blur'
) -> dict[str, Source]:
  """Writes the pairs of each plan into a folder; name -> source.

  Args:
    plans: name -> `make_blur.Plan`.
    folder: gets a folder for each name.
    subset: blur_gamma where light was averaged, else blur.
  """
  from deblur_jax.data import pair_writer

  for name, plan in plans.items():
    with _bar(name, len(plan.sources)) as bar:
      pair_writer.write(
          plan, folder / name,
          on_pair=lambda done, bar=bar: bar.update(done - bar.n))
  return {name: gopro(folder / name, subset=subset) for name in plans}


def gopro(root: str | os.PathLike, *, subset: str = 'blur') -> Source:
  """The training pairs of a folder in GoPro's layout."""
  return dict(name='gopro', root=str(root), subset=subset, split='train')


def restored_by_teacher(
    blurred: Sequence[str], teacher: str, folder: pathlib.Path
) -> dict[str, Source]:
  """Restores blurred pictures without sharp originals, as training targets.

  Args:
    blurred: folders.
    teacher: a bundled model or a run.
    folder: gets a folder teacher_0, ... for each; existing pairs stay.

  Returns:
    Name of the folder -> the source.
  """
  from deblur_jax.data import images
  from deblur_jax.inference import tiling
  from deblur_jax.pretrained import zoo

  if not blurred:
    return {}
  model = zoo.load(teacher, dtype=zoo.AUTO)
  restore = tiling.build(model.method, model.state, model.mesh,
                         exact=model.exact, **model.tiling)
  sources = {}
  for number, pictures in enumerate(blurred):
    name = f'teacher_{number}'
    found = images.require(pictures)
    with _bar(name, len(found)) as bar:
      for key, path in found.items():
        _teach(images.read(path), folder / name, key, restore)
        bar.update()
    sources[name] = dict(name='folder_pairs', blur=str(folder / name / 'blur'),
                         sharp=str(folder / name / 'sharp'))
  return sources


def _teach(blur, folder, key, restore):
  """Writes a pair, unless it exists or the teacher's result was rejected.

  The sharp side is written last, so a pair that has one is complete.
  """
  from PIL import Image

  from deblur_jax.ops import atomic_files, bit_depth

  targets = {side: folder / side / f'{key}.png' for side in ('blur', 'sharp')}
  if targets['sharp'].exists():
    return
  large = restore(bit_depth.to_float(blur))
  if large.rejected:
    return
  sharp = bit_depth.to_uint8(large.image)
  for side, picture in (('blur', blur), ('sharp', sharp)):
    with atomic_files.replacing(targets[side]) as part:
      Image.fromarray(picture).save(part)


def decoded(
    sources: Mapping[str, Source], folder: pathlib.Path
) -> dict[str, pathlib.Path]:
  """Decodes each source once; name -> its folder below `folder`."""
  from deblur_jax import data
  from deblur_jax.data import prepared

  for name, leaf in sources.items():
    source = data.open_source(**leaf)
    with _bar(f'{name}, decoded', len(source.names)) as bar:
      prepared.write(source, folder / name,
                     on_pair=lambda done, bar=bar: bar.update(done - bar.n))
  return {name: folder / name for name in sources}


def use(config: dict[str, Any], roots: Mapping[str, pathlib.Path]) -> None:
  """Makes decoded folders the only training sources of a config.

  A folder film_1 has the options of the config's source film_0.
  """
  known = config['data']['train']['sources']
  config['data']['train']['sources'] = {
      name: known[re.sub(r'_\d+$', '_0', name)] | {'root': str(root)}
      for name, root in roots.items()}


def about(path: str) -> dict[str, Any]:
  """Reads what the card of a model must have: summary, licence, sources.

  Raises:
    UserError: there is no such file, or one of these keys is missing.
  """
  from deblur_jax.config import require
  from deblur_jax.training import workdir

  found = workdir.read_json(pathlib.Path(path))
  for key in ('summary', 'licence', 'sources'):
    require(found, key, where=path)
  return found


def _bar(what, total):
  return tqdm.tqdm(
      total=total, desc=what, file=sys.stderr, unit='pair', disable=None)
