"""Models by name, or by the folder of a run: whatever restores a picture.

A shipped model is a card, `zoo/weights/NAME.json`, and a file of weights beside
it, which several cards may share: the card says what the model is, what it was
trained on and under which terms, how it scores, and the SHA-256 of its weights.
Nothing is downloaded.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from deblur_jax import errors

SHIPPED = pathlib.Path(__file__).parent / 'weights'
DEFAULT = 'maxim-2'
ROLE = 'net'
CARD = ('summary', 'net', 'weights', 'sha256', 'parameters', 'licence',
        'trained', 'sources')
AUTO = 'auto'
Path = str | os.PathLike


class Model(NamedTuple):
  """What restores.

  name: as it was asked for.
  method: a `types.Method`: its `restore`, in the dtype that was asked for.
  exact: the same in float32; None where `method` computes in that.
  state: a `types.TrainState`: its weights, on `mesh`.
  mesh: the first device of this process.
  card: of a shipped model; {} for a run.
  tiling: keywords of `tiling.build` that suit the network.
  """

  name: str
  method: Any
  exact: Any
  state: Any
  mesh: Any
  card: Mapping[str, Any]
  tiling: Mapping[str, Any] = {}


def names(folder: Path = SHIPPED) -> list[str]:
  """The shipped models, the default one first."""
  found = sorted(path.stem for path in pathlib.Path(folder).glob('*.json'))
  return sorted(found, key=lambda name: name != DEFAULT)


def card(name: str, *, folder: Path = SHIPPED) -> dict[str, Any]:
  """What is known of a shipped model.

  Keys CARD; where measured 'scores' and 'seconds_720p', see
  experiments/model_cards.py; 'reach', see `inference.reach`; 'least_change' in
  levels of 255, see `app.restoring`.

  Raises:
    UserError: no such model, or its card is damaged.
  """
  known = names(folder)
  if not known:
    raise errors.UserError(
        f'No model {name!r}: none is bundled, so give -m the folder of a run.')
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

  found = card(name, folder=folder)
  weight_files.check_sha256(
      pathlib.Path(folder, found['weights']), found['sha256'])


def load(
    where: Path, *, dtype: str | None = None, which: str = 'last',
    folder: Path = SHIPPED) -> Model:
  """A shipped model by its name, or the model of a run by its folder.

  Args:
    where: a name, or a path with a separator or a folder of that name. A folder
      that `experiments.convert` has made of others' weights is a run too.
    dtype: what the network computes in, 'float32' or 'bfloat16'; AUTO takes
      for a shipped model what `precision.fastest` finds. By default as the
      model was made.
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
  found = card(name, folder=folder)
  verify(name, folder=folder)
  return _of_card(name, found, dtype, folder)


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
  from deblur_jax import inference, models, workdir
  from deblur_jax.methods import trained
  from deblur_jax.ops import weight_files

  start = trained.Start(os.fspath(run), which)
  net = trained.network(start) | {'dtype': 'float32'}
  params = trained.any_weights(start)
  reach = inference.reach(
      _method(models.build(**net)), _state(params), _mesh())
  weights = errors.make_folder(folder) / f'{name}.safetensors'
  write_weights(weights, params)
  path = weights.with_suffix('.json')
  workdir.write_json(path, {
      'net': net,
      'weights': weights.name,
      'sha256': weight_files.sha256(weights),
      'parameters': models.count_parameters(params),
      'reach': reach, **about})
  return path


def write_weights(
    path: pathlib.Path, params: Mapping[str, Any], *, dtype: str = 'float32'
) -> None:
  """Writes a tree of parameters as .safetensors, whole or not at all.

  Args:
    path: of the file.
    params: dicts of arrays.
    dtype: in which they are stored.

  Raises:
    UserError: it cannot be written.
  """
  from flax import traverse_util
  from safetensors import numpy as safetensors_numpy

  flat = {key: value.astype(dtype) for key, value
          in traverse_util.flatten_dict(params, sep='/').items()}
  temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  try:
    temporary.write_bytes(safetensors_numpy.save(flat))
    os.replace(temporary, path)
  except OSError as error:
    temporary.unlink(missing_ok=True)
    raise errors.UserError(
        f'Cannot write {path}: {error.strerror}.') from error


def _of_card(name, found, dtype, folder) -> Model:
  import jax
  import numpy as np

  from deblur_jax import models, parallel, precision
  from deblur_jax.ops import weight_files

  exact = models.build(**found['net'])
  # The card's SHA-256 vouches for the shapes.
  params = models.own(exact, weight_files.read_tree(
      pathlib.Path(folder, found['weights']),
      what=f'the weights of the model {name}'))
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)
  if dtype == AUTO:
    dtype = precision.fastest()
  nets = [exact]
  if dtype and dtype != 'float32':
    nets.insert(0, models.build(**found['net'] | {'dtype': dtype}))
  mesh = _mesh()
  methods = [_method(net) for net in nets] + [None]
  state = jax.device_put(_state(params), parallel.replicated(mesh))
  return Model(name, methods[0], methods[1], state, mesh, found,
               models.tiling(exact))


def _state(params):
  import numpy as np

  from deblur_jax import types

  return types.TrainState(
      step=np.zeros((), np.int32), params={ROLE: params}, opt_state={},
      extra={})


def _method(net):
  from deblur_jax import models, types

  def restore(state, blur):
    return net.apply({'params': state.params[ROLE]}, blur)[0]

  return types.Method(init=None, step=None, restore=restore,
                      window=models.window(net), identity=repr(net))


def _of_run(name, dtype, which) -> Model:
  from deblur_jax import evaluate, methods, models, workdir

  folder = pathlib.Path(name)
  config = workdir.read_json(folder / workdir.CONFIG)
  _check_config(config, folder / workdir.CONFIG)
  if config['method'].get('name') in ('kernel', 'blur_type'):
    raise errors.UserError(
        f'{name} learned to tell of blur, not to restore: take another run.')
  dtype = None if dtype == AUTO else dtype
  own, exact = (_computing(config, kind) for kind in (dtype, 'float32'))
  method, state, mesh = evaluate.load_on_one_device(own, folder, which=which)
  method = method._replace(identity=json.dumps(own, sort_keys=True))
  exact = None if own == exact else methods.build(
      exact, from_checkpoint=True)._replace(
          identity=json.dumps(exact, sort_keys=True))
  nets = [models.build(**net) for net in config['nets'].values()]
  return Model(name, method, exact, state, mesh, {},
               models.tiling(nets[0]) if len(nets) == 1 else {})


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
