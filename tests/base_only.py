"""Runs this Python as if only the base install were there, and on Windows.

Every import of a package that `pip install deblur-jax` does not bring fails,
and of a module that Python lacks on Windows.
It asks for help, imports the whole package, restores a photo, and runs a
program of experiments/.

  python tests/base_only.py PHOTO RESULT
"""

import importlib
import importlib.metadata
import pkgutil
import runpy
import sys

from packaging import requirements, utils

# These modules are parts of the extra `train`.
TRAIN = ('deblur_jax.data.gopro_tfds',)
NOT_ON_WINDOWS = ('fcntl', 'resource')


def installed(name: str, extras=()) -> set[str]:
  """Names of a distribution and of all that it requires."""
  found, todo = set(), [(name, extra) for extra in ('', *extras)]
  while todo:
    name, extra = todo.pop()
    if (name, extra) in found:
      continue
    found.add((name, extra))
    for line in importlib.metadata.requires(name) or ():
      needed = requirements.Requirement(line)
      if not needed.marker or needed.marker.evaluate({'extra': extra}):
        name_ = utils.canonicalize_name(needed.name)
        todo += [(name_, extra_) for extra_ in ('', *needed.extras)]
  return {name for name, _ in found}


class Without:
  """A finder of sys.meta_path that does not find some modules."""

  def __init__(self, finder, modules):
    self.finder, self.modules = finder, modules

  def find_spec(self, name, path=None, target=None):
    if name.partition('.')[0] in self.modules:
      return None
    return self.finder.find_spec(name, path, target)


def hide_extras() -> set[str]:
  """Makes the modules that the base install lacks unknown; returns them."""
  base = installed('deblur-jax')
  missing = {
      module for module, owners
      in importlib.metadata.packages_distributions().items()
      if not base & {utils.canonicalize_name(owner) for owner in owners}}
  for name in [name for name in sys.modules if name.split('.')[0] in missing]:
    del sys.modules[name]
  sys.meta_path[:] = [Without(finder, missing) for finder in sys.meta_path]
  return missing


def deblur(cli, *words):
  try:
    cli.main([*words])
  except SystemExit as ended:
    assert not ended.code, ended.code


def main(photo, result):
  missing = hide_extras()
  sys.modules.update(dict.fromkeys(NOT_ON_WINDOWS))
  assert {'tensorflow', 'tensorflow_datasets', 'clu', 'ml_collections',
          'matplotlib', 'skimage', 'gradio', 'av'} <= missing
  import deblur_jax
  from deblur_jax.app import cli

  deblur(cli, 'restore', '--help')
  heavy = {'jax', 'flax', 'numpy', 'PIL'} & set(sys.modules)
  assert not heavy, f'--help imports {heavy}'
  for module in pkgutil.walk_packages(deblur_jax.__path__, 'deblur_jax.'):
    if module.name not in (*TRAIN, 'deblur_jax.__main__'):
      importlib.import_module(module.name)
  deblur(cli, photo, '-m', 'small', '-o', result)
  assert not missing & {name.partition('.')[0] for name in sys.modules}
  sys.argv = ['train', '--config=configs/quickstart.py', '--workdir=none']
  runpy.run_module('experiments.train', run_name='__main__')


if __name__ == '__main__':
  main(*sys.argv[1:])
