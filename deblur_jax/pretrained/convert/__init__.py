"""Weights from the papers' own programs into run folders, and back again.

The folder that comes out is a run like any other: it can be evaluated, and
trained on, from step 0 with a fresh state of the optimizer. No code that lies
in a file of weights is run, see `ops.weight_files`.
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
from deblur_jax.ops import arrays as array_files
from deblur_jax.ops import atomic_files, weight_files
from deblur_jax.pretrained.convert import maxim, state_dicts
from deblur_jax.pretrained.convert.layouts import LAYOUTS
from deblur_jax.state import TrainState
from deblur_jax.training import checkpoint, loop, parallel, workdir

REPORT = 'convert.json'
SUFFIXES = ('.safetensors', '.npz')


class Converted(NamedTuple):
  """One network, and where each of its arrays went.

  file: of theirs.
  sha256: of that file, hexadecimal.
  layout: the row of `LAYOUTS`.
  prefix: what stood before their names.
  role: which of `config.nets` it is.
  network: its keywords.
  theirs: the options with which their program makes the same network.
  names: their name -> {'ours': path, 'shape': theirs, 'dtype': theirs}.
  skipped: name of the file -> why.
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
    options: Mapping[str, Any] | None = None
) -> list[Converted]:
  """Makes a run folder of weights; nothing is left of one that failed.

  Args:
    config: plain dicts; its networks are replaced by those of the files, the
      rest is for evaluation and further training.
    folder: to make; may be there already if it is empty.
    weights: files of PyTorch weights, see `weight_files.read`, or MAXIM's, see
      `maxim_files.read`; those of the generator and of the discriminator may be
      one or two. A discriminator that the config has and no file begins with
      fresh weights.
    layout: a row of `LAYOUTS`, or `maxim.LAYOUT`; by default what the names
      tell.
    options: what the files do not tell, such as rgb_range.

  Returns:
    What convert.json of the folder holds.

  Raises:
    UserError: files that cannot be read, that fit no layout or not quite, and
      all that the config is refused for.
  """
  folder = pathlib.Path(folder)
  _check_free(folder)
  config = copy.deepcopy(dict(config))
  params, report = {}, []
  for path in weights:
    for role, net, value, entry in _read(path, layout, options or {}, config):
      if role in params:
        raise errors.UserError(
            f'{path}: another file was nets.{role} already.')
      config['nets'][role], params[role] = net, value
      report.append(entry)
  _check_options([entry.layout for entry in report], options or {})
  roles = [_role(entry.layout) for entry in report]
  if 'generator' not in roles:
    raise errors.UserError(
        'There is no generator in --weights='
        f'{",".join(map(str, weights))}: the run would restore with random '
        'weights; give the generator as well.')
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


def from_run(
    config: Mapping[str, Any], folder: pathlib.Path, file: pathlib.Path, *,
    layout: str | None = None, which: str = 'last'
) -> Converted:
  """Writes a network of a run as PyTorch programs want it.

  Where the run averages its weights, those averages are written.

  Args:
    config: the run's, plain dicts.
    folder: the run's.
    file: to write, .safetensors or .npz.
    layout: a row of `LAYOUTS`, or `maxim.LAYOUT`; by default the first that has
      such a network.
    which: 'last' or 'best' checkpoint, or a step.

  Raises:
    UserError: their program has no such network, or there is no checkpoint.
  """
  file = pathlib.Path(file)
  if file.suffix not in SUFFIXES:
    raise errors.UserError(
        f'{file} must end in {" or ".join(SUFFIXES)}: a .pth is a pickle, and '
        'PyTorch reads the first.')
  if file.exists():
    raise errors.UserError(f'{file} is there already.')
  method = methods.build(config, from_checkpoint=True)
  layout = _choose(config, layout)
  role = _place(layout, config['nets'])
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
  """Lines that tell what went where, a line a top-level module of ours."""
  is_maxim = entry.layout == maxim.LAYOUT
  about = maxim.ABOUT if is_maxim else LAYOUTS[entry.layout].about
  yield f'{entry.file} is {entry.layout}: {about}'
  yield f'  sha256 {entry.sha256}'
  yield f'  theirs: {_options_line(entry.theirs)}'
  yield f'  nets.{entry.role}: {_options_line(entry.network)}'
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
      yield (f'  {count} array{"s are" if count > 1 else " is"} of {dtype} '
             'there, float32 here')
  if is_maxim:
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
          f'it is {parts[0].key}, and the config has no '
          f'{parts[0].layout.role}: choose another --config.')
    skipped = {name: f'no tensor: {kind}' for name, kind in rest.items()}
    skipped |= _unwanted(arrays, parts, wanted)
    return [_take(path, part, skipped, nets) for part in wanted]


def _unwanted(arrays, parts, wanted) -> dict[str, str]:
  """Arrays of no network of the config -> why they are left out."""
  why = {name: 'outside of the networks' for name in arrays}
  for part in parts:
    role = part.layout.role
    for name in state_dicts.full_names(part):
      why[name] = f'{part.key}, and the config has no {role}'
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
  role = maxim.place(nets)
  if role is None:
    raise errors.UserError(
        f'{path} is of MAXIM, and the config has no generator: choose another '
        '--config.')
  weights = maxim_files.read(path)
  net = models.build(**weights.network)
  return role, weights.network, weights.params, Converted(
      str(path), maxim.sha256(path), maxim.LAYOUT, weights.prefix, role,
      weights.network, maxim.options(net), maxim.names(net, weights.names),
      maxim.skipped(weights))


def _role(layout: str) -> str:
  """'generator' or 'discriminator'."""
  return 'generator' if layout == maxim.LAYOUT else LAYOUTS[layout].role


def _place(layout: str, nets) -> str | None:
  """Which of `config.nets` a layout is."""
  return (maxim if layout == maxim.LAYOUT else LAYOUTS[layout]).place(nets)


def _names(pairs, arrays) -> dict[str, dict[str, Any]]:
  dtype = lambda name: str(arrays[name].dtype) if arrays else 'float32'
  return {
      pair.theirs: {'ours': '/'.join(pair.ours), 'shape': list(pair.shape),
                    'dtype': dtype(pair.theirs)}
      for pair in pairs}


def _replace(state: TrainState, params) -> TrainState:
  """The state with these parameters, also where it averages them."""
  averaged = {role: params.get(role, old) for role, old in state.ema.items()}
  return state.replace(params=state.params | params, ema=averaged)


def _choose(config, layout) -> str:
  """The row of LAYOUTS by which a network of the config can be written."""
  nets = config['nets']
  if layout is not None:
    row = errors.look_up(
        LAYOUTS | {maxim.LAYOUT: maxim}, layout, what='layout')
    name = nets.get(row.place(nets), {}).get('name')
    if name != (maxim.NETWORK if row is maxim else row.network):
      raise errors.UserError(
          f'{layout} is a {maxim.NETWORK if row is maxim else row.network}, '
          f'and the {_role(layout)} of the run is {name}.')
    return layout
  generators = {key: row for key, row in LAYOUTS.items()
                if row.role == 'generator'}
  role = next(iter(generators.values())).place(nets)
  name = nets.get(role, {}).get('name')
  if name == maxim.NETWORK:
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
      f'No layout has a generator like {name}. {" ".join(reasons)}')


def _check_free(folder: pathlib.Path) -> None:
  if folder.is_file() or folder.is_dir() and any(folder.iterdir()):
    raise errors.UserError(
        f'{folder} is there already; choose another folder.')


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
  """Names the file in what is wrong with it."""
  try:
    yield
  except errors.UserError as error:
    text = str(error)
    raise errors.UserError(
        text if str(path) in text else f'{path}: {text}') from error


def _write(file: pathlib.Path, arrays, metadata) -> None:
  """Writes or replaces a file, never half of it."""
  from safetensors import numpy as safetensors_numpy

  if file.suffix == '.npz':
    array_files.save(file, arrays)
  else:
    atomic_files.write(file, safetensors_numpy.save(
        arrays, metadata={'format': 'pt', **metadata}))
