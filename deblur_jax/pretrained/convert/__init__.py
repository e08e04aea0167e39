"""Converts weights of the papers' programs to run folders, and back.

The resulting folder is a complete run. It can be evaluated, and trained from
step 0 with a new state of the optimizer. Code in a file of weights is never
run, see `ops.weight_files`.
"""

import collections
import contextlib
import copy
import inspect
import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from deblur_jax import errors, methods, models
from deblur_jax.evaluation import test_sets
from deblur_jax.models import maxim_files
from deblur_jax.ops import array_files as array_files
from deblur_jax.ops import atomic_files, weight_files
from deblur_jax.pretrained.convert import maxim, state_dicts
from deblur_jax.pretrained.convert.name_maps import LAYOUTS
from deblur_jax.state import TrainState
from deblur_jax.training import checkpoint, loop, parallel, workdir

REPORT = 'convert.json'
SUFFIXES = ('.safetensors', '.npz')


class Converted(NamedTuple):
  """The report on one converted network.

  Attributes:
    file: the file of the authors' program.
    sha256: of that file, hexadecimal.
    layout: a name in `LAYOUTS`.
    prefix: of the names in the file.
    role: the network's key in `config.nets`.
    network: its keyword arguments.
    theirs: the options of the authors' program for the same network.
    names: name in the file -> {'ours': path, 'shape': theirs, 'dtype': theirs}.
    skipped: name in the file -> reason.
  """

  file: str
  sha256: str
  layout: str
  prefix: str
  role: str
  network: dict[str, Any]
  theirs: dict[str, Any]
  names: dict[str, dict[str, Any]]
  skipped: dict[str, str]


def to_run(
    config: Mapping[str, Any], folder: pathlib.Path,
    weights: Sequence[str | pathlib.Path], *, layout: str | None = None,
    options: Mapping[str, Any] | None = None, their_subset: bool = False
) -> list[Converted]:
  """Makes a run folder from weights; a failure leaves no folder.

  Args:
    config: plain dicts. Its networks are replaced by those of the files; the
      rest is for evaluation and further training.
    folder: the new folder; it may exist if it is empty.
    weights: files of PyTorch weights, see `weight_files.read`, or of MAXIM's,
      see `maxim_files.read`. Generator and discriminator may be in one file or
      in two. A discriminator of the config that is in no file gets random
      weights.
    layout: a name in `LAYOUTS`, or `maxim.LAYOUT`; by default it follows from
      the names in the file.
    options: options of the layout that do not follow from the file, such as
      rgb_range.
    their_subset: whether the config's sources of GoPro get the subset on which
      the authors of the generator trained.

  Returns:
    The content of the folder's convert.json.

  Raises:
    UserError: a file cannot be read or fits no layout, the folder exists, there
      is no generator, or the config is invalid.
  """
  folder = pathlib.Path(folder)
  _check_free(folder)
  config = copy.deepcopy(dict(config))
  params, report = {}, []
  for path in weights:
    for role, net, value, entry in _read(path, layout, options or {}, config):
      if role in params:
        raise errors.UserError(
            f'{path}: another file has nets.{role}, too; give one of them.')
      config['nets'][role], params[role] = net, value
      report.append(entry)
  _check_options([entry.layout for entry in report], options or {})
  generator = next((entry.layout for entry in report
                    if _row(entry.layout).role == 'generator'), None)
  if generator is None:
    raise errors.UserError(
        'There is no generator in --weights='
        f'{",".join(map(str, weights))}: the run would restore with random '
        'weights; add the file of the generator.')
  if their_subset:
    config = on_their_subset(config, generator)
  method = methods.build(config)
  mesh = parallel.data_mesh()
  key, _ = jax.random.split(jax.random.key(config['seed']))
  crop = config['data']['loader']['crop']
  state = _replace(loop.init(method, key, crop, mesh), params)
  with atomic_files.replacing(folder) as part:
    part.mkdir()
    checkpoints = checkpoint.Checkpoints(part / workdir.CHECKPOINTS)
    checkpoints.save(0, parallel.put(state, parallel.replicated(mesh)), None)
    checkpoints.close()
    workdir.write_config(part, config)
    workdir.write_json(
        part / workdir.ENVIRONMENT, workdir.describe_environment())
    workdir.write_json(
        part / REPORT, [entry._asdict() for entry in report])
  return report


def on_their_subset(
    config: Mapping[str, Any], layout: str) -> dict[str, Any]:
  """Makes a config of GoPro use the subset on which a layout's authors trained.

  Args:
    config: plain dicts; sources other than GoPro stay.
    layout: a name in `LAYOUTS`, or `maxim.LAYOUT`.

  Returns:
    The changed copy.
  """
  config = copy.deepcopy(dict(config))
  for source in (config['data']['train'], config['data']['test']):
    if source['name'] == 'gopro':
      source['subset'] = _row(layout).subset
  return config


def from_run(
    config: Mapping[str, Any], folder: pathlib.Path, file: pathlib.Path, *,
    layout: str | None = None, which: str = 'last'
) -> Converted:
  """Writes a network of a run in the layout of the authors' program.

  If the run averages its weights, the averages are written.

  Args:
    config: of the run, plain dicts.
    folder: of the run.
    file: the new file, .safetensors or .npz.
    layout: a name in `LAYOUTS`, or `maxim.LAYOUT`; by default the first that
      has such a network.
    which: the checkpoint: 'last', 'best' or a step.

  Returns:
    The report.

  Raises:
    UserError: the authors' program has no such network, there is no checkpoint,
      or the file exists or has another suffix.
  """
  file = pathlib.Path(file)
  if file.suffix not in SUFFIXES:
    raise errors.UserError(
        f'{file} must end in {" or ".join(SUFFIXES)}: a .pth is a pickle, and '
        'PyTorch reads the first.')
  if file.exists():
    raise errors.UserError(f'{file} exists already; choose another name.')
  method = methods.build(config, from_checkpoint=True)
  layout = _choose(config, layout)
  role = _row(layout).place(config['nets'])
  network = dict(config['nets'][role])
  net = models.build(**network)
  if layout == maxim.LAYOUT:
    theirs = maxim.options(net)
    names = maxim.names(net, {
        theirs: (ours, 'float32')
        for ours, theirs in maxim_files.their_names(net).items()})
    prefix = maxim.PREFIX if file.suffix == '.npz' else ''
    to_theirs = lambda params: maxim.to_theirs(net, params, prefix=prefix)
  else:
    row, prefix = LAYOUTS[layout], ''
    theirs = row.theirs(net)
    pairs = state_dicts.pairs(row, net)
    names = _names(pairs, {})
    to_theirs = lambda params: state_dicts.to_theirs(params, pairs)
  state = test_sets.load(config, method, folder, which=which)
  params = state.params | state.ema
  _write(file, to_theirs(params[role]), {
      'layout': layout, 'made_with': json.dumps(theirs)})
  return Converted(
      str(file), weight_files.sha256(file), layout, prefix, role, network,
      theirs, names, {})


def describe(entry: Converted) -> Iterator[str]:
  """Describes a converted network for the user.

  Args:
    entry: the report.

  Yields:
    Lines: the file and the options, then a line for each top-level module.
  """
  row = _row(entry.layout)
  yield f'{entry.file} is {entry.layout}: {row.about}'
  yield f'  sha256 {entry.sha256}'
  yield f'  theirs: {_options_line(entry.theirs)}'
  yield f'  nets.{entry.role}: {_options_line(entry.network)}'
  yield f"  published weights: trained on GoPro's subset {row.subset}"
  groups = {}
  for theirs, name in entry.names.items():
    top = name['ours'].partition('/')[0]
    groups.setdefault(top, []).append((theirs, name))
  for top, names in groups.items():
    values = sum(math.prod(name['shape']) for _, name in names)
    first, last = (entry.prefix + names[i][0] for i in (0, -1))
    yield (f'  {top}: {len(names)} arrays, {values:,} values, from {first} '
           f'to {last}')
  dtypes = collections.Counter(
      name['dtype'] for name in entry.names.values())
  for dtype, count in dtypes.items():
    if dtype != 'float32':
      yield (f'  {count} array{"s are" if count > 1 else " is"} {dtype} '
             'in the file, float32 in the run')
  if row is maxim.ROW:
    yield from maxim.lacking(entry.network)
  for name, why in entry.skipped.items():
    yield f'  skipped {name}: {why}'


def _read(path, layout, options, config):
  """(role, keywords, parameters, report) of each network in a file."""
  with _about(path):
    if layout == maxim.LAYOUT or layout is None and maxim_files.holds(path):
      return [_take_maxim(path, config['nets'])]
    arrays, rest = weight_files.read_all(path, what=(
        'weights as torch.save(net.state_dict()), .safetensors or .npz'))
    parts = state_dicts.find(arrays, options, layout=layout)
    nets = config['nets']
    wanted = [part for part in parts if part.layout.place(nets)]
    if not wanted:
      raise errors.UserError(
          f'it is {parts[0].key}, but the config has no '
          f'{parts[0].layout.role}: choose another --config.')
    skipped = {name: f'no tensor: {kind}' for name, kind in rest.items()}
    skipped |= _unwanted(arrays, parts, wanted)
    return [_take(path, part, skipped, nets) for part in wanted]


def _unwanted(arrays, parts, wanted) -> dict[str, str]:
  """Name of an array of no network of the config -> reason to skip it."""
  why = {name: 'outside of the networks' for name in arrays}
  for part in parts:
    role = part.layout.role
    for name in state_dicts.full_names(part):
      why[name] = f'{part.key}, but the config has no {role}'
  for part in wanted:
    for name in state_dicts.full_names(part):
      del why[name]
  return why


def _take(path, part, skipped, nets):
  network = part.network
  net = models.build(**network)
  pairs = state_dicts.pairs(part.layout, net)
  params = state_dicts.to_ours(part, pairs)
  unused = {part.prefix + name: 'their program does not use it'
            for name in part.arrays if state_dicts.is_unused(part, name)}
  role = part.layout.place(nets)
  return role, network, params, Converted(
      str(path), weight_files.sha256(path), part.key, part.prefix, role,
      network, part.layout.theirs(net), _names(pairs, part.arrays),
      skipped | unused)


def _take_maxim(path, nets):
  role = maxim.ROW.place(nets)
  if role is None:
    raise errors.UserError(
        f'{path} is of MAXIM, but the config has no generator: choose another '
        '--config.')
  weights = maxim_files.read(path)
  net = models.build(**weights.network)
  return role, weights.network, weights.params, Converted(
      str(path), maxim.sha256(path), maxim.LAYOUT, weights.prefix, role,
      weights.network, maxim.options(net), maxim.names(net, weights.names),
      maxim.skipped(weights))


def _row(layout: str):
  """The record of a layout: about, role, network, subset, place."""
  return maxim.ROW if layout == maxim.LAYOUT else LAYOUTS[layout]


def _names(pairs, arrays) -> dict[str, dict[str, Any]]:
  dtype = lambda name: str(arrays[name].dtype) if arrays else 'float32'
  return {
      pair.theirs: {'ours': '/'.join(pair.ours), 'shape': list(pair.shape),
                    'dtype': dtype(pair.theirs)}
      for pair in pairs}


def _replace(state: TrainState, params) -> TrainState:
  """The state with these parameters, also as averages where it has them."""
  averaged = {role: params.get(role, old) for role, old in state.ema.items()}
  return state.replace(params=state.params | params, ema=averaged)


def _choose(config, layout) -> str:
  """The layout in which a network of the config can be written."""
  nets = config['nets']
  if layout is not None:
    row = errors.look_up(
        LAYOUTS | {maxim.LAYOUT: maxim.ROW}, layout, what='layout')
    name = nets.get(row.place(nets), {}).get('name')
    if name != row.network:
      raise errors.UserError(
          f'{layout} is a {row.network}, but the {row.role} of the run is '
          f'{name}.')
    return layout
  generators = {key: row for key, row in LAYOUTS.items()
                if row.role == 'generator'}
  role = next(iter(generators.values())).place(nets)
  name = nets.get(role, {}).get('name')
  if name == maxim.ROW.network:
    return maxim.LAYOUT
  reasons = []
  for key, row in generators.items():
    if row.network != name:
      continue
    try:
      row.theirs(models.build(**nets[role]))
      return key
    except errors.UserError as error:
      reasons.append(str(error))
  raise errors.UserError(
      f'No layout has the generator {name}. {" ".join(reasons)}')


def _check_free(folder: pathlib.Path) -> None:
  if folder.is_file() or folder.is_dir() and any(folder.iterdir()):
    raise errors.UserError(
        f'{folder} exists already; choose another folder.')


def _check_options(layouts, given) -> None:
  known = {name for key in layouts if key != maxim.LAYOUT for name in list(
      inspect.signature(LAYOUTS[key].options).parameters)[1:]}
  for name in given:
    if name not in known:
      raise errors.UserError(
          f'Unknown option {name} of {", ".join(layouts)}; '
          f'known: {", ".join(sorted(known)) or "none"}.'
          f'{errors.suggest(name, known)}')


def _options_line(options) -> str:
  return ', '.join(f'{key}={value}' for key, value in options.items())


@contextlib.contextmanager
def _about(path):
  """Adds the file's name to messages of errors."""
  try:
    yield
  except errors.UserError as error:
    raise errors.named(error, str(path)) from None


def _write(file: pathlib.Path, arrays, metadata) -> None:
  """Writes or replaces a file atomically."""
  from safetensors import numpy as safetensors_numpy

  if file.suffix == '.npz':
    array_files.save(file, arrays)
  else:
    atomic_files.write(file, safetensors_numpy.save(
        arrays, metadata={'format': 'pt', **metadata}))
