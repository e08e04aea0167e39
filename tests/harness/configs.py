"""The config.json of a run, damaged; it is read as every program reads it."""

import copy
import json
import random
from collections.abc import Iterator

import helpers
import run_folders

from deblur_jax import data, models
from deblur_jax.config import call, options
from deblur_jax.data import loaders
from deblur_jax.evaluation import test_sets
from deblur_jax.methods import supervised
from deblur_jax.pretrained import zoo
from deblur_jax.training import optim, train, workdir
from tests.harness.cases import Case

NETWORKS = ('single_scale', 'multiscale', 'nafnet', 'unet')
SECONDS = 1.0
WRONG = (
    None, True, False, 0, 1, -1, 3, 0.5, -2.5, 10**6, 10**12, 10**400, 1e308,
    float('nan'), float('inf'), '', 'x', 'supervised', '\0', '../..', 'é' * 300,
    [], {}, [[]], [None], {'name': None}, {'a': {}}, ['x', 1, {}], [1] * 1000,
    {'': ''})


def cases(folder, count: int, *, seed: int = 0) -> Iterator[Case]:
  """Cases of small runs.

  Args:
    folder: an empty folder.
    count: how many.
    seed: of the changes.
  """
  draw = random.Random(seed)
  wholes = {folder / name: small_run(folder / name, name)
            for name in NETWORKS[:1 + count // 100]}
  readers = {reader.__name__: reader for reader in (loads, evaluates, resumes)}
  for reader in readers.values():    # what is imported only once
    reader(folder / NETWORKS[0])
  for number in range(count):
    run, whole = draw.choice(sorted(wholes.items()))
    name, text = damaged(draw, whole)
    reader = draw.choice(sorted(readers))

    def read(run=run, text=text, reader=reader):
      (run / workdir.CONFIG).write_text(text)
      return readers[reader](run)

    yield Case(f'{number} {reader} {run.name}: {name}', read, SECONDS)


def small_run(folder, network: str):
  """Makes a run of a network; returns its config with all options in it."""
  record = models.NETWORKS[network]
  config = helpers.tiny(**{'nets.net': {'name': network, **record.small}})
  config['data']['train'] = config['data']['test'] = dict(
      name='builtin', split='test')
  data_config = config['data']
  data_config['loader']['backend'] = 'threads'
  for leaf, made_by in (
      (config['nets']['net'], record.module), (config['optim']['net'],
                                               optim.build),
      (config['method'], supervised.make), (data_config['train'],
                                            data.open_source),
      (data_config['loader'], loaders.build),
      (data_config['loader'], loaders.LOADERS['threads'])):
    for name, option in options(made_by).items():
      if option.default is not option.empty and name not in (
          'batch_size', 'seed', 'process_index', 'process_count'):
        leaf.setdefault(name, option.default)
  run_folders.untrained(folder, config)
  return json.loads((folder / workdir.CONFIG).read_text())


def loads(run) -> None:
  """As `deblur -m RUN`."""
  zoo.load(run)


def evaluates(run) -> None:
  """As experiments.evaluate, up to the first picture."""
  config = workdir.read_config(run)
  train.check(config)
  test_sets.load_on_one_device(config, run)
  call(data.open_source, config['data']['test'], where='data.test')


def resumes(run) -> None:
  """As experiments.train without --config."""
  train.prepare(workdir.read_config(run), run)


def damaged(draw: random.Random, config) -> tuple[str, str]:
  """A change by its name, and the text of the file after it."""
  kind = draw.choice(('value', 'value', 'value', 'value', 'missing', 'unknown',
                      'text', 'deep'))
  text = json.dumps(config)
  if kind == 'text':
    return _damaged_text(draw, text)
  config = copy.deepcopy(config)
  path, place, key = _place(draw, config)
  if kind == 'missing':
    del place[key]
    return f'{path} missing', json.dumps(config)
  if kind == 'unknown':
    place[f'{key}x'] = place.pop(key)
    return f'{path}x', json.dumps(config)
  if kind == 'deep':
    place[key] = '<deep>'
    levels = draw.choice((10, 900, 100_000))
    opening, closing = draw.choice((('[', ']'), ('{"a":', '}')))
    return f'{path} of {levels} levels', json.dumps(config).replace(
        '"<deep>"', f'{opening * levels}0{closing * levels}')
  place[key] = value = draw.choice(WRONG)
  return f'{path} = {str(value)[:20]}', json.dumps(config)


def _damaged_text(draw, text):
  kind = draw.choice(('cut', 'byte', 'list', 'empty', 'digits'))
  at = draw.randrange(len(text))
  return kind, {
      'cut': text[:at],
      'byte': text[:at] + chr(draw.randrange(1, 128)) + text[at + 1:],
      'list': f'[{text}]', 'empty': '',
      'digits': text.replace('2', '9' * 5000, 1)}[kind]


def _place(draw, config):
  """A random entry: its path, the dict that has it, and its key."""
  places, waiting = [], [('', config)]
  while waiting:
    prefix, table = waiting.pop()
    for key, value in table.items():
      places.append((f'{prefix}{key}', table, key))
      if isinstance(value, dict):
        waiting.append((f'{prefix}{key}.', value))
  return draw.choice(places)


