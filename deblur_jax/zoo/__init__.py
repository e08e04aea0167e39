"""Models by name, or by the folder of a run: whatever restores a picture.

A shipped model is two files of `zoo/weights`: NAME.safetensors and its card,
NAME.json, which says what it is, what it was trained on and under which terms,
how it scores, and the SHA-256 of its weights. Nothing is downloaded.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from deblur_jax import errors

SHIPPED = pathlib.Path(__file__).parent / 'weights'
DEFAULT = 'default'
ROLE = 'net'
CARD = ('summary', 'net', 'sha256', 'parameters', 'trained', 'sources')
Path = str | os.PathLike


class Model(NamedTuple):
  """What restores.

  name: as it was asked for.
  method: a `types.Method`: its `restore`, in the dtype that was asked for.
  exact: the same in float32; None where `method` computes in that.
  state: a `types.TrainState`: its weights, on `mesh`.
  mesh: the first device of this process.
  card: of a shipped model; {} for a run.
  """

  name: str
  method: Any
  exact: Any
  state: Any
  mesh: Any
  card: Mapping[str, Any]


def names(folder: Path = SHIPPED) -> list[str]:
  """The shipped models, the default one first."""
  found = sorted(path.stem for path in pathlib.Path(folder).glob('*.json'))
  return sorted(found, key=lambda name: name != DEFAULT)


def card(name: str, *, folder: Path = SHIPPED) -> dict[str, Any]:
  """What is known of a shipped model.

  Keys CARD; 'scores' where measured; 'reach', see `inference.reach`;
  'least_change' in levels of 255, see `app.restoring`.

  Raises:
    UserError: no such model, or its card is damaged.
  """
  known = names(folder)
  if not known:
    raise errors.UserError(
        f'No model {name!r}: none came along, so give -m the folder of a run.')
  if name not in known:
    raise errors.UserError(
        f'No model {name!r}: there is {", ".join(known)}, or the folder of a '
        f'run with its config.json.{errors.suggest(name, known)}')
  path = pathlib.Path(folder, f'{name}.json')
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise errors.UserError(f'Cannot read {path}: {error}.') from error
  missing = [key for key in CARD if key not in found]
  if missing:
    raise errors.UserError(f'{path} has no {missing[0]}.')
  return found


def verify(name: str, *, folder: Path = SHIPPED) -> None:
  """Raises a UserError where the weights are not those of the card."""
  from deblur_jax.ops import weight_files

  weight_files.check_sha256(
      _weights(name, folder), card(name, folder=folder)['sha256'])


def load(
    where: Path, *, dtype: str | None = None, which: str = 'last',
    folder: Path = SHIPPED) -> Model:
  """A shipped model by its name, or the model of a run by its folder.

  Args:
    where: a name, or a path with a separator or a folder of that name. A folder
      that `experiments.convert` has made of others' weights is a run too.
    dtype: what the convolutions compute in, 'float32' or 'bfloat16'; by
      default as the model was made.
    which: of a run: 'last' or 'best' checkpoint, or a step.
    folder: of the shipped models.

  Raises:
    UserError: no such model or run, damaged weights, a dtype that cannot be.
  """
  name = os.fspath(where)
  if name not in names(folder) and os.path.isfile(name):
    raise errors.UserError(
        f'{name} is a file, and a model is a folder: `deblur convert` makes a '
        'folder of weights.')
  if os.sep in name or pathlib.Path(name, 'config.json').exists():
    return _of_run(name, dtype, which)
  told = card(name, folder=folder)
  verify(name, folder=folder)
  return _of_card(name, told, dtype, folder)


def write(
    run: Path, name: str, *, about: Mapping[str, Any], which: str = 'last',
    folder: Path = SHIPPED) -> pathlib.Path:
  """Makes the restoring network of a run a shipped model.

  Args:
    run: the folder.
    name: of the model.
    about: 'summary', 'sources' and whatever else its card shall say.
    which: checkpoint.
    folder: of the shipped models.

  Returns:
    The card's path.

  Raises:
    UserError: no such run, or files that cannot be written.
  """
  from flax import traverse_util
  from safetensors import numpy as safetensors_numpy

  from deblur_jax import inference, models, workdir
  from deblur_jax.methods import trained
  from deblur_jax.ops import weight_files

  start = trained.Start(os.fspath(run), which)
  net = trained.network(start) | {'dtype': 'float32'}
  params = trained.any_weights(start)
  reach = inference.reach(
      _method(models.build(**net)), _state(params), _mesh())
  folder = errors.make_folder(folder)
  weights = _weights(name, folder)
  flat = traverse_util.flatten_dict(params, sep='.')
  temporary = weights.with_name(f'{weights.name}.{os.getpid()}.tmp')
  try:
    temporary.write_bytes(safetensors_numpy.save(flat))
    os.replace(temporary, weights)
  except OSError as error:
    temporary.unlink(missing_ok=True)
    raise errors.UserError(f'Cannot write {weights}: {error.strerror}.') from (
        error)
  path = weights.with_suffix('.json')
  workdir.write_json(path, {
      'net': net,
      'sha256': weight_files.sha256(weights),
      'parameters': models.count_parameters(params),
      'reach': reach, **about})
  return path


def _weights(name, folder) -> pathlib.Path:
  return pathlib.Path(folder, f'{name}.safetensors')


def _of_card(name, told, dtype, folder) -> Model:
  from deblur_jax import models, parallel, types
  from deblur_jax.ops import weight_files

  params = weight_files.read_tree(
      _weights(name, folder), what=f'the weights of the model {name}')
  exact = models.build(**told['net'])
  types.check_same_shapes(params, models.shapes(exact), what=name)
  nets = [exact]
  if dtype and dtype != 'float32':
    nets.insert(0, models.build(**told['net'] | {'dtype': dtype}))
  mesh = _mesh()
  found = [_method(net) for net in nets] + [None]
  return Model(name, found[0], found[1], parallel.put(
      _state(params), parallel.replicated(mesh)), mesh, told)


def _state(params):
  import jax.numpy as jnp

  from deblur_jax import types

  return types.TrainState(
      step=jnp.zeros((), jnp.int32), params={ROLE: params}, opt_state={},
      extra={})


def _method(net):
  from deblur_jax import models, types

  def restore(state, blur):
    return net.apply({'params': state.params[ROLE]}, blur)[0]

  return types.Method(init=None, step=None, restore=restore,
                      window=models.window(net))


def _of_run(name, dtype, which) -> Model:
  from deblur_jax import evaluate, methods, workdir

  folder = pathlib.Path(name)
  config = workdir.read_json(folder / workdir.CONFIG)
  _check_config(config, folder / workdir.CONFIG)
  if config['method'].get('name') in ('kernel', 'blur_type'):
    raise errors.UserError(
        f'{name} learned to tell of blur, not to restore: take another run.')
  own, exact = (_computing(config, kind) for kind in (dtype, 'float32'))
  method, state, mesh = evaluate.load_on_one_device(own, folder, which=which)
  exact = None if own == exact else methods.build(exact, from_checkpoint=True)
  return Model(name, method, exact, state, mesh, {})


def _check_config(config, path):
  """Raises a UserError where a config is not of a run."""
  from deblur_jax import workdir

  config = config if isinstance(config, dict) else {}
  wanted = ['method.name', 'total_steps', 'data.loader.crop',
            *(f'nets.{key}.name' for key in config.get('nets', ['net']))]
  known = {*config, *workdir.flatten(config)}
  lacking = [key for key in (*wanted, 'optim') if key not in known]
  if lacking:
    raise errors.UserError(f'{path} is not of a run: it has no {lacking[0]}.')


def _computing(config, dtype):
  """The config with all networks that have a choice computing in `dtype`.

  Without one, with what they compute in written out.
  """
  from deblur_jax import models

  nets = {}
  for key, net in config['nets'].items():
    own = getattr(models.build(**net), 'dtype', None)
    nets[key] = net | {'dtype': dtype or own} if own else net
  return config | {'nets': nets}


def _mesh():
  import jax

  from deblur_jax import parallel

  return parallel.data_mesh(jax.local_devices()[:1])
