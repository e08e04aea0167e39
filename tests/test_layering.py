"""Imports point down, heavy libraries stay in their place."""

import ast
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'deblur_jax'
# A folder or a file -> its level; a file's own counts before its folder's.
LEVELS = {
    'errors': 0, 'state': 0, 'config': 0,
    'ops': 1, 'blur': 1, 'inference.cache_folder': 1,
    # One decoder for data sets and for people's photos.
    'media.decoding': 1, 'media.metadata': 1, 'media.exif': 1,
    'media.sixteen_bit': 1, 'media.descriptions': 1, 'media.colour_codes': 1,
    'media.jpeg_xl': 1, 'media.raw_photos': 1,
    'losses': 2, 'metrics': 2, 'models': 2, 'data': 2, 'pretrained.cards': 2,
    'training.optim': 2, 'training.parallel': 2, 'training.checkpoint': 2,
    'training.workdir': 2, 'training.hooks': 3,
    'training.profiling': 2, 'training.hparams': 2, 'training.signals': 2,
    'methods': 3, 'priors.fitting': 3, 'priors.fit_record': 3,
    'priors.stopping': 3, 'priors.deep_prior': 3, 'priors.blind_prior': 3,
    'priors.double_prior': 3,
    'training.loop': 4,
    'training.accelerators': 4, 'training.step_cost': 5,
    'inference.restoration': 5, 'inference.program_cache': 5,
    'inference.tiling': 6, 'evaluation.test_sets': 6, 'evaluation.detection': 6,
    'training.train': 7, 'evaluation': 7, 'priors': 7, 'pretrained': 7,
    'media': 7, 'export': 7,
    'app': 8, '__main__': 9,
}
# Folders of one level do not know each other, but for these.
STANDS_ON = {('blur', 'ops'), ('config', 'errors'), ('state', 'errors'),
             ('inference', 'ops'), ('methods', 'priors')}
# A library and the parts that may import it.
ONLY_IN = {
    'tensorflow': {'data', 'export'},
    'tensorflow_datasets': {'data'},
    'orbax': {'training'},
    'clu': {'training'},
    'ml_collections': set(),
    'absl': set(),
    'matplotlib': {'evaluation'},
    'av': {'data', 'media'},
    'apache_beam': {'data'},
    'onnx': {'export'},
    'onnxruntime': {'evaluation', 'export'},
}
FILES = sorted(PACKAGE.rglob('*.py'))


def module(path):
  """'deblur_jax/ops/conv.py' -> 'ops.conv'."""
  parts = path.relative_to(PACKAGE).with_suffix('').parts
  return '.'.join(parts).removesuffix('.__init__')


def part(name):
  """'training.loop.on_mesh' -> 'training.loop', 'ops.conv' -> 'ops'."""
  parts = name.split('.')
  pair = '.'.join(parts[:2])
  return pair if pair in LEVELS else parts[0]


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
  here = part(module(path))
  folder = here.split('.')[0]
  for name, _ in imports(path):
    root, _, rest = name.partition('.')
    if root in ('configs', 'experiments', 'tests'):
      yield f'{here} may not import {root}'
    if root in ONLY_IN and folder not in ONLY_IN[root]:
      yield f'{here} may not import {root}'
    if root == 'deblur_jax' and rest and here != '__init__':
      there = part(rest)
      other = there.split('.')[0]
      knows = folder == other or (folder, other) in STANDS_ON
      if LEVELS[there] >= LEVELS[here] + knows:
        yield f'{here} may not import {there}'


def test_imports_point_down():
  assert not [f'{path.relative_to(PACKAGE)}: {wrong}'
              for path in FILES for wrong in violations(path)]


def test_files_have_docstrings():
  texts = {path.relative_to(PACKAGE): path.read_text() for path in FILES}
  assert not [path for path, text in texts.items()
              if not ast.get_docstring(ast.parse(text))]


def test_named_tuples_describe_their_fields():
  missing = []
  for path in FILES:
    for node in ast.walk(ast.parse(path.read_text())):
      if (isinstance(node, ast.ClassDef) and not node.name.startswith('_')
          and any('NamedTuple' in ast.unparse(base) for base in node.bases)):
        text = (ast.get_docstring(node) or '').partition('Attributes:')[2]
        described = set(re.findall(r'^  (\w.*?): ', text, re.MULTILINE))
        described = {name for names in described for name in names.split(', ')}
        missing += [f'{path.name}: {node.name}.{field.target.id}'
                    for field in node.body if isinstance(field, ast.AnnAssign)
                    and field.target.id not in described]
  assert not missing


def test_every_part_has_a_level():
  packages = {f'{path.parent.name}' for path in FILES
              if path.name == '__init__.py'}
  parts = {part(module(path)) for path in FILES}
  assert parts - LEVELS.keys() <= packages | {'__init__'}


def test_flags_are_defined_in_experiments_only():
  for path in FILES:
    assert 'DEFINE_' not in path.read_text(), path


def test_jit_stands_in_the_loop_only():
  for path in FILES:
    # Functions of NumPy arrays, and programs that leave the package.
    may = module(path) in (
        'data.builtin', 'data.make_blur', 'priors.baselines',
        'metrics.niqe') or part(module(path)) in ('training.loop', 'export')
    if not may:
      assert 'jax.jit(' not in path.read_text(), path


def test_a_wrong_import_is_found(tmp_path, monkeypatch):
  monkeypatch.setattr(sys.modules[__name__], 'PACKAGE', tmp_path)
  wrong = tmp_path / 'losses.py'
  wrong.write_text('from deblur_jax.training import loop\nimport clu.metrics\n')
  assert list(violations(wrong)) == [
      'losses may not import training.loop', 'losses may not import clu']


@pytest.mark.parametrize('folder', ['deblur_jax', 'experiments'])
def test_texts_are_utf_8_on_every_system(folder):
  for path in sorted((ROOT / folder).rglob('*.py')):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if not isinstance(node, ast.Call):
        continue
      words = ast.unparse(node)
      reads = isinstance(node.func, ast.Attribute) and node.func.attr in (
          'read_text', 'write_text')
      opens = isinstance(node.func, ast.Name) and node.func.id == 'open' and (
          "b'" not in words and "'rb+'" not in words)
      if (reads or opens) and '/proc/' not in words:    # Linux alone
        assert 'encoding=' in words, f'{path}:{node.lineno}'
