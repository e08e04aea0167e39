"""Files of weights, damaged, through `deblur convert` and `deblur -m`."""

import base64
import copy
import json
import pathlib
import random
import shutil
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from safetensors import numpy as safetensors_numpy

from deblur_jax.app import convert_weights
from deblur_jax.models import maxim
from deblur_jax.ops import array_files, weight_files
from deblur_jax.pretrained import zoo
from tests.harness.cases import Case
from tests.harness.configs import WRONG
from tests.harness.mutations import damage_bytes
from tests.models.test_maxim_files import ONE, _graph, _values
from tests.pretrained.test_convert import PTH


def cases(folder, count: int, *, seed: int = 0) -> Iterator[Case]:
  """Cases of .npz, .safetensors, .pt and a folder of TensorFlow.js.

  Args:
    folder: an empty folder.
    count: how many.
    seed: of the changes.
  """
  draw = random.Random(seed)
  whole, damaged, run = folder / 'whole', folder / 'damaged', folder / 'run'
  files = _files(whole)
  # What is imported and compiled only once.
  convert_weights.run([whole / 'deepdeblur.pt'], run, options={})
  if count >= 100:
    shutil.rmtree(run)
    convert_weights.run([whole / 'maxim.npz'], run, options={})
  for number in range(count):
    shutil.rmtree(run, ignore_errors=True)
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(whole, damaged)
    path = draw.choice(files)
    opened = damaged / path.split('/')[0]
    kind = _damage(draw, damaged / path)
    if draw.random() < 0.5 and opened.suffix != '.pt':
      yield Case(f'{number} -m {path}: {kind}',
                 lambda opened=opened: zoo.load(opened) and '')
    else:
      yield Case(
          f'{number} convert {path}: {kind}',
          lambda opened=opened: convert_weights.run(
              [opened], run, options={}) and '')


def _files(folder) -> list[str]:
  """Writes whole files; returns the paths of those to be damaged."""
  folder.mkdir(parents=True)
  values = _values(maxim.MAXIM(**ONE))
  np.savez(folder / 'maxim.npz', **values)
  (folder / 'maxim.safetensors').write_bytes(safetensors_numpy.save(values))
  _graph(folder / 'graph', values)
  path = folder / 'deepdeblur.pt'
  path.write_bytes(zlib.decompress(base64.b64decode(PTH)))
  theirs = weight_files.read(path, what='the weights')
  array_files.save(folder / 'deepdeblur.npz', theirs)
  (folder / 'deepdeblur.safetensors').write_bytes(
      safetensors_numpy.save(theirs))
  return sorted(str(path.relative_to(folder)) for path in folder.rglob('*')
                if path.is_file())


def _damage(draw: random.Random, path: pathlib.Path) -> str:
  content = path.read_bytes()
  inside = draw.random() < 0.6
  if inside and zipfile.is_zipfile(path):
    return _damage_member(draw, path)
  if inside and path.suffix == '.safetensors':
    size = int.from_bytes(content[:8], 'little')
    kind, header = _damage_json(draw, content[8:8 + size])
    path.write_bytes(
        len(header).to_bytes(8, 'little') + header + content[8 + size:])
    return f'header: {kind}'
  if inside and path.suffix == '.json':
    kind, content = _damage_json(draw, content)
  else:
    kind, content = damage_bytes(draw, content)
  path.write_bytes(content)
  return kind


def _damage_member(draw, path) -> str:
  """Damages a member of a zip archive; its checksum fits the damage."""
  with zipfile.ZipFile(path) as archive:
    members = {name: archive.read(name) for name in archive.namelist()}
  name = draw.choice(sorted(members))
  # The first bytes are NumPy's header, or a pickle.
  head = draw.choice((64, 128, 4096))
  kind, start = damage_bytes(draw, members[name][:head])
  members[name] = start + members[name][head:]
  with zipfile.ZipFile(path, 'w') as archive:
    for member, content in members.items():
      archive.writestr(member, content)
  return f'{name}: {kind}'


def _damage_json(draw, content: bytes) -> tuple[str, bytes]:
  """Changes one value of a JSON text."""
  tree = copy.deepcopy(json.loads(content))
  places, waiting = [], [tree]
  while waiting:
    place = waiting.pop()
    keys = place.keys() if isinstance(place, dict) else range(len(place))
    for key in keys:
      places.append((place, key))
      if isinstance(place[key], dict | list):
        waiting.append(place[key])
  place, key = draw.choice(places)
  place[key] = value = draw.choice((*WRONG, 2**31, 2**40, 2**63, -(2**40)))
  return f'{key} = {str(value)[:20]}', json.dumps(tree).encode()
