"""Imports point down, heavy libraries stay in their place, files stay short."""

import ast
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'deblur_jax'
LEVELS = {
    'errors': 0, 'types': 0, 'cache_folder': 0, 'precision': 0,
    'ops': 1, 'blur': 1,
    'losses': 2, 'metrics': 2, 'models': 2, 'data': 2, 'optim': 2,
    'parallel': 2, 'checkpoint': 2, 'workdir': 2, 'cards': 2,
    'methods': 3,
    'loop': 4,
    'inference': 5, 'program_cache': 5,
    'evaluate': 6, 'tiling': 6, 'feed': 6, 'detection': 6,
    'train': 7, 'report': 7, 'measure': 7, 'deconvolve': 7,
    'convert': 7, 'prior': 7, 'told': 7, 'judge': 7,
    'io': 7, 'zoo': 7, 'export': 7,
    'app': 8, '__main__': 9,
}
# Within a level all are strangers, but for these.
STANDS_ON = {('blur', 'ops'), ('types', 'errors'),
             ('cache_folder', 'errors')}
# A library and the parts that may import it.
ONLY_IN = {
    'tensorflow': {'data', 'export'},
    'tensorflow_datasets': {'data'},
    'orbax': {'checkpoint'},
    'clu': {'train'},
    'ml_collections': set(),
    'absl': set(),
    'matplotlib': {'report'},
    'av': {'data', 'io'},
    'apache_beam': {'data'},
    'onnx': {'export'},
    'onnxruntime': {'detection', 'export'},
}
FILES = sorted(PACKAGE.rglob('*.py'))


def part(path):
  """'deblur_jax/ops/conv.py' -> 'ops'."""
  first = path.relative_to(PACKAGE).parts[0]
  return first.removesuffix('.py')


def imports(path):
  """(module, whether it is imported when the file is) for each import."""
  tree = ast.parse(path.read_text())
  top = {id(node) for node in tree.body}
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [f'{node.module}.{alias.name}' for alias in node.names]
    else:
      continue
    for name in names:
      yield name, id(node) in top


def violations(path):
  here = part(path)
  for name, _ in imports(path):
    root, *rest = name.split('.')
    if root in ('configs', 'experiments', 'tests'):
      yield f'{here} may not import {root}'
    if root in ONLY_IN and here not in ONLY_IN[root]:
      yield f'{here} may not import {root}'
    if root == 'deblur_jax' and rest and here != '__init__':
      there = rest[0]
      if (there != here and LEVELS[there] >= LEVELS[here]
          and (here, there) not in STANDS_ON):
        yield f'{here} may not import {there}'


def test_imports_point_down():
  assert not [f'{path.relative_to(PACKAGE)}: {wrong}'
              for path in FILES for wrong in violations(path)]


def test_files_have_docstrings_and_are_short():
  texts = {path.relative_to(PACKAGE): path.read_text() for path in FILES}
  assert not [path for path, text in texts.items()
              if not ast.get_docstring(ast.parse(text))
              or len(text.splitlines()) > 420]


def test_every_part_has_a_level():
  assert {part(path) for path in FILES} - {'__init__'} <= LEVELS.keys()


def test_flags_are_defined_in_experiments_only():
  for path in FILES:
    assert 'DEFINE_' not in path.read_text(), path


def test_jit_stands_in_the_loop_only():
  for path in FILES:
    # Pictures that are rendered once, outside of any step.
    rendering = path.name in ('builtin.py', 'make_blur.py')
    if part(path) != 'loop' and not rendering:
      assert 'jax.jit(' not in path.read_text(), path


def test_a_wrong_import_is_found(tmp_path, monkeypatch):
  monkeypatch.setattr(sys.modules[__name__], 'PACKAGE', tmp_path)
  wrong = tmp_path / 'losses.py'
  wrong.write_text('from deblur_jax import loop\nimport clu.metrics\n')
  assert list(violations(wrong)) == [
      'losses may not import loop', 'losses may not import clu']


def test_the_package_is_light():
  code = ('import sys, deblur_jax; '
          'assert not {"jax", "tensorflow", "flax"} & set(sys.modules)')
  subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


def test_training_parts_do_not_load_tensorflow():
  code = ('import sys, deblur_jax.train; '
          'assert not {"tensorflow", "tensorflow_datasets"} & set(sys.modules)')
  subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)
