"""Further metrics by name: in evaluation, on the command line, in a report."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import run_folders
import skimage
from helpers import tiny

from deblur_jax import errors, methods, metrics
from deblur_jax.evaluation import report, test_sets
from deblur_jax.evaluation.report import render
from deblur_jax.metrics import niqe
from deblur_jax.training import checkpoint, loop, parallel, workdir
from experiments import metric_flags

CHOSEN = ['cw_ssim_pyssim', 'laplacian_variance', 'blur_effect']
NO_REFERENCE = ['laplacian_variance', 'blur_effect']


def _pair(height=164, width=168):
  sharp = skimage.data.coffee()[:height, :width][None] / np.float32(255)
  return jnp.asarray(sharp) * 0.9, jnp.asarray(sharp)


def test_choose_by_name():
  restored, sharp = _pair(40, 50)
  chosen = metrics.choose([*CHOSEN, 'ssim_skimage'])
  assert list(chosen) == [*CHOSEN, 'ssim_skimage']
  for name in ('cw_ssim_pyssim', 'ssim_skimage'):
    assert chosen[name] is metrics.METRICS[name].fn
  for name in NO_REFERENCE:
    of_two = jax.jit(chosen[name])
    value = of_two(restored, sharp)
    np.testing.assert_array_equal(
        value, jax.jit(metrics.METRICS[name].fn)(restored))
    np.testing.assert_array_equal(value, of_two(restored, restored))


def test_choose_with_weights(tmp_path):
  restored, sharp = _pair(192, 192)
  model = niqe.Model(np.zeros(36), np.eye(36))
  niqe.save(tmp_path / 'own.npz', model)
  chosen = metrics.choose({'niqe': {'path': tmp_path / 'own.npz'},
                           'blur_effect': {}})
  np.testing.assert_allclose(
      jax.jit(chosen['niqe'])(restored, sharp),
      jax.jit(lambda image: niqe.niqe(image, model))(restored), rtol=1e-6)


@pytest.mark.parametrize('names, match', [
    (['psnr'], "Unknown metric 'psnr'; known: blur_effect, .*Did you mean"),
    ({'blur_effect': {'h_size': 3}}, 'metrics.blur_effect takes no options'),
    (['niqe'], 'metrics.niqe.path is missing'),
    ({'niqe': {'file': 'x'}}, "Unknown key metrics.niqe.file; known: path"),
    ({'niqe': {'path': 'none.npz'}}, 'No NIQE parameters at none.npz'),
    ({'lpips_alex': {'backbone': 'none.pth', 'linear': 'none.pth'}},
     'No file none.pth: it should be torchvision'),
    ({'vgg19_unit': {'path': 'none.npz'}},
     "No file none.npz: it should be VGG19's weights"),
    ({'vgg19_unit': {}}, 'metrics.vgg19_unit.path is missing'),
    (['error_ratio'], "Unknown metric 'error_ratio'"),
])
def test_choose_mistakes(names, match):
  with pytest.raises(errors.UserError, match=match):
    metrics.choose(names)


@pytest.fixture(scope='module')
def evaluated(tmp_path_factory):
  """An untrained network that gives its input back, with further metrics."""
  folder = tmp_path_factory.mktemp('run')
  config = tiny(**{'nets.net.residual': True})
  method = methods.build(config)
  state = jax.tree.map(jnp.zeros_like, loop.init(
      method, jax.random.key(0), 16, parallel.data_mesh()))
  checkpoints = checkpoint.Checkpoints(folder / workdir.CHECKPOINTS)
  checkpoints.save(0, state, {})
  checkpoints.close()
  return folder, test_sets.run(
      config, folder, metrics=CHOSEN, name='more', limit=2, pictures=0)


def test_evaluation_with_further_metrics(evaluated):
  folder, result = evaluated
  assert list(result['mean']) == [*metrics.STANDARD, *CHOSEN, 'seconds']
  assert list(result['input']) == [*metrics.STANDARD, *CHOSEN]
  assert set(result['sharp']) == set(NO_REFERENCE)
  for row in result['rows']:
    assert set(row['sharp']) == set(NO_REFERENCE)
    assert set(CHOSEN) < set(row['input'])
  for group in ('input', 'sharp'):
    np.testing.assert_allclose(
        result[group]['blur_effect'],
        np.mean([row[group]['blur_effect'] for row in result['rows']]))
  np.testing.assert_allclose(
      result['mean']['cw_ssim_pyssim'], result['input']['cw_ssim_pyssim'])
  assert result['sharp']['blur_effect'] < result['input']['blur_effect']
  assert workdir.read_json(folder / 'more.json') == json.loads(
      json.dumps(result))


def test_summary_without_further_metrics(evaluated):
  rows = [{key: row[key] for key in ('name', *metrics.STANDARD, 'seconds')} | {
      'input': {name: row['input'][name] for name in metrics.STANDARD}}
          for row in evaluated[1]['rows']]
  summary = test_sets.summarise(rows)
  assert list(summary) == ['input', 'mean', 'rows']
  assert list(summary['mean']) == [*metrics.STANDARD, 'seconds']
  assert summary['mean'].items() <= evaluated[1]['mean'].items()


def test_rows_of_other_processes_are_put_together(evaluated):
  """What is sent between processes holds every number of a row."""
  columns = test_sets._columns(metrics.STANDARD | metrics.choose(CHOSEN))
  for row in evaluated[1]['rows']:
    line = test_sets._line(row, columns)
    assert test_sets._row(row['name'], line, columns) == row


def test_options_on_the_command_line():
  parse = metric_flags._metric
  assert parse('blur_effect') == ('blur_effect', {})
  assert parse('lpips_alex:backbone=a/b=c.pth:linear=d') == (
      'lpips_alex', {'backbone': 'a/b=c.pth', 'linear': 'd'})
  with pytest.raises(errors.UserError, match="after niqe:, got 'x.npz'"):
    parse('niqe:x.npz')


def test_report_marks_metrics_without_reference(tmp_path):
  run_folders.finished(tmp_path / 'a', seed=0)
  path = tmp_path / 'a' / 'eval.json'
  result = json.loads(path.read_text())
  for group, value in (('input', 0.61), ('mean', 0.36)):
    result[group]['blur_effect'] = value
  result['sharp'] = {'blur_effect': 0.41}
  path.write_text(json.dumps(result))
  written = report.write(tmp_path)
  page = (tmp_path / 'report.md').read_text()
  mark = render.NO_REFERENCE_MARK
  assert f' blur_effect {mark} ' in written.markdown
  assert f' psnr_uint8 {mark}' not in written.markdown
  assert f'{mark} Measured without the sharp picture' in page
  assert 'The sharp pictures have blur_effect 0.4100.' in page
  assert "* `blur_effect`: Crete's blur" in page
  assert r'blur\_effect $^\ddagger$' in (tmp_path / 'report.tex').read_text()
  assert 'blur_effect,' in (tmp_path / 'report.csv').read_text()


def test_report_without_such_metrics_says_nothing(tmp_path):
  run_folders.finished(tmp_path / 'a')
  report.write(tmp_path)
  assert render.NO_REFERENCE_MARK not in (tmp_path / 'report.md').read_text()
