"""A config small enough to be trained in a test, through the real parts."""

import functools
import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
_ALL = sorted(
    path.stem for path in (ROOT / 'configs').glob('*.py')
    if path.stem not in ('__init__', 'common'))
# Those of experiments.prior, and those that are trained.
PRIORS = [name for name in _ALL if name.startswith('prior_')]
CONFIGS = [name for name in _ALL if name not in PRIORS]


def get_config(name, arg='debug'):
  """configs/NAME.py:ARG, as the programs load it."""
  path = ROOT / 'configs' / f'{name}.py'
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(arg)


def kinds():
  """The first config of each method, set of networks and number of frames."""
  first = {}
  for name in CONFIGS:
    config = get_config(name).to_dict()
    nets = sorted(kwargs.get('name', '') for kwargs in config['nets'].values())
    frames = config['data']['train'].get('window', 1)
    first.setdefault((config['method'].get('name'), frames, *nets), name)
  return list(first.values())


def tiny(**overrides):
  """multiscale_gopro:debug as plain dicts; overrides as 'a.b.c': value."""
  config = get_config('multiscale_gopro')
  config.nets.net.dtype = 'float32'
  config.nets.net.scales, config.nets.net.blocks = 2, 0
  config.data.loader.crop = 16
  config.validate = dict(pictures=1, crop=32)
  return _override(config.to_dict(), overrides)


def changed(name, **overrides):
  """NAME:debug as plain dicts; overrides as 'a.b.c': value."""
  return _override(get_config(name).to_dict(), overrides)


def _override(config, overrides):
  for path, value in overrides.items():
    *folders, key = path.split('.')
    functools.reduce(dict.get, folders, config)[key] = value
  return config


KINDS = kinds()
