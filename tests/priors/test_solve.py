"""Deep image priors on files: problems, folders of results, the program."""

import contextlib
import csv
import json
import pathlib
import shutil
import subprocess
import sys

import helpers
import jax
import numpy as np
import pytest
import scipy.ndimage
from absl import flags
from PIL import Image

from deblur_jax import errors, methods
from deblur_jax.blur import operators
from deblur_jax.data import images
from deblur_jax.ops import array_files, bit_depth
from deblur_jax.priors import (
  baselines,
  fit_record,
  initialization,
  problems,
  results,
  solve,
  tasks,
)
from deblur_jax.training import checkpoint, workdir
from experiments import prior
from experiments.release import collect_fits

ROOT = pathlib.Path(__file__).resolve().parents[2]


def picture(seed=0, height=24, width=32):
  noise = np.random.default_rng(seed).random((height, width, 3))
  smooth = scipy.ndimage.gaussian_filter(noise, (2, 2, 0))
  return bit_depth.to_uint8((smooth - smooth.min()) / np.ptp(smooth))


def save(path, pixels):
  path.parent.mkdir(exist_ok=True, parents=True)
  Image.fromarray(pixels).save(path)
  return path


@pytest.fixture
def folder(tmp_path):
  """Two sharp pictures, a mask and a kernel."""
  for i, name in enumerate('ab'):
    save(tmp_path / 'sharp' / f'{name}.png', picture(i))
  mask = np.full((24, 32), 255, np.uint8)
  mask[4:12, 4:12] = 0
  save(tmp_path / 'mask.png', mask)
  np.save(tmp_path / 'kernel.npy', np.full((3, 5), 1 / 15))
  return tmp_path


# What tasks that are made from the truth are made with.
OPTIONS = {
    'blind': lambda folder: dict(kernel=folder / 'kernel.npy'),
    'deblur': lambda folder: dict(kernel=folder / 'kernel.npy'),
    'denoise': lambda folder: dict(sigma=25.0),
    'inpaint': lambda folder: dict(mask=folder / 'mask.png'),
    'jpeg': lambda folder: dict(quality=10),
    'sr': lambda folder: dict(factor=4),
}


def test_every_task_has_a_config():
  assert helpers.PRIORS == [f'prior_{name}' for name in sorted(tasks.TASKS)]


# The estimate of an unknown kernel is of a gray picture anyway.
@pytest.mark.parametrize('task, gray', [
    (name, gray) for name, task in tasks.TASKS.items() if task.corrupt
    for gray in (False, True) if (name, gray) != ('blind', True)])
def test_problems_made_from_the_truth(task, gray, folder):
  options = OPTIONS.get(task, lambda folder: {})(folder)
  found = problems.make(folder / 'sharp', task=task, gray=gray, **options)
  assert [problem.name for problem in found] == ['a', 'b']
  factor = options.get('factor', 1)
  for problem in found:
    batch = problem.batch
    height, width, _ = batch['observed'].shape
    assert batch['sharp'].shape == (
        height * factor, width * factor, 1 if gray else 3)
    for value in batch.values():
      assert value.dtype == np.float32
      assert value.min() >= 0 and value.max() <= 1
    assert ('mask' in batch, 'kernel' in batch) == (
        task == 'inpaint', task == 'deblur')
    record = tasks.TASKS[task]
    for baseline in filter(None, (record.input, record.classical)):
      result = np.asarray(baseline(batch, factor, 3))
      assert result.shape[:2] == batch['sharp'].shape[:2]
      assert np.isfinite(result).all()


def test_problems_are_what_they_say(folder):
  make = lambda task, **options: problems.make(
      folder / 'sharp' / 'a.png', task=task, **options)[0].batch
  sharp = bit_depth.to_float(picture(0))
  salted = make('denoise', sigma=0.0, impulse=0.3)['observed'] != sharp
  assert 0.25 < salted.mean() < 0.35
  noise = make('denoise', sigma=10.0)['observed'] - sharp
  assert abs(noise[(sharp > 0.2) & (sharp < 0.8)].std() * 255 - 10) < 1
  half = make('inpaint', missing=0.5)
  assert 0.4 < half['mask'].mean() < 0.6
  np.testing.assert_array_equal(half['observed'], sharp * half['mask'])
  np.testing.assert_array_equal(
      make('denoise', crop=8)['sharp'], sharp[8:16, 12:20])
  blurred = make('deblur', kernel=folder / 'kernel.npy')
  np.testing.assert_allclose(
      blurred['observed'], scipy.ndimage.uniform_filter(
          sharp, (3, 5, 1))[1:-1, 2:-2], atol=1e-5)
  np.testing.assert_array_equal(blurred['sharp'], sharp[1:-1, 2:-2])


def test_problems_read_from_files(folder):
  found = problems.read(
      folder / 'sharp', task='inpaint', mask=folder / 'mask.png',
      truth=folder / 'sharp', gray=True)
  assert [problem.name for problem in found] == ['a', 'b']
  for problem in found:
    assert problem.batch['observed'].shape == (24, 32, 1)
    assert problem.batch['mask'].mean() == 1 - 64 / (24 * 32)
    np.testing.assert_array_equal(
        problem.batch['observed'], problem.batch['sharp'])


@pytest.mark.parametrize('pixels', [
    np.full((6, 5), 255, np.uint8), np.full((6, 5), 65535, np.uint16),
    np.full((6, 5, 4), 255, np.uint8), np.ones((6, 5), bool)],
    ids=['gray', '16 bits', 'alpha', '1 bit'])
def test_kinds_of_pictures(pixels, tmp_path):
  save(tmp_path / 'a.png', pixels)
  (found,) = problems.read(tmp_path / 'a.png', task='denoise')
  np.testing.assert_array_equal(
      found.batch['observed'], np.ones((6, 5, 3), np.float32))


@pytest.mark.parametrize('options, message', [
    (dict(task='denois'), "Unknown task 'denois'"),
    (dict(task='inpaint'), 'needs a mask; give --mask'),
    (dict(task='denoise', mask='mask.png'),
     'denoise has no option mask; it is for inpaint.'),
    (dict(task='deblur', kernel='none.npy'), 'none.npy'),
    (dict(task='inpaint', mask='small.png'), 'mask is 8x8, the picture 32x24'),
    (dict(task='inpaint', mask='black.png'), 'black everywhere'),
    (dict(task='denoise', truth='small.png'), 'truth is 8x8, and the result'),
    (dict(task='sr', factor=2, truth='sharp/a.png'), 'result will be 64x48'),
    (dict(task='flash', guide='small.png'), 'flash picture is 8x8'),
    (dict(task='deblur', kernel='large.npy'), '51'),
])
def test_mistakes_are_one_line(options, message, folder):
  save(folder / 'small.png', picture(0, 8, 8))
  save(folder / 'black.png', np.zeros((24, 32), np.uint8))
  np.save(folder / 'large.npy', np.full((51, 51), 1 / 51**2))
  paths = {key: folder / value for key, value in options.items()
           if key in ('mask', 'truth', 'kernel', 'guide')}
  with pytest.raises(errors.UserError, match=message) as error:
    problems.read(folder / 'sharp' / 'a.png', **options | paths)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('options, message', [
    (dict(task='flash'), 'flash cannot be made from sharp pictures'),
    (dict(task='deblur'), 'give --kernel'),
    (dict(task='denoise', crop=99), 'a is 32x24, too small for a crop of 99'),
    (dict(task='inpaint', missing=1.0), 'black everywhere'),
    (dict(task='denoise', kernel='k.npy'), 'it is for blind, deblur.'),
    (dict(task='denoise', mask='m.png'), 'no option mask; it is for inpaint.'),
    (dict(task='denoise', missing=0.2), 'no option missing; it is for inpaint'),
    (dict(task='blind', correlation=True), 'give --kernel'),
    (dict(task='sr', factor=25), 'a is 32x24, too small for a factor of 25'),
])
def test_mistakes_in_making_are_one_line(options, message, folder):
  with pytest.raises(errors.UserError, match=message) as error:
    problems.make(folder / 'sharp' / 'a.png', **options)
  assert '\n' not in str(error.value)


def test_nearest_known_pixel():
  blur = np.array([[[0.2], [0.0], [0.0], [0.9]]], np.float32)
  mask = np.array([[[1.0], [0.0], [0.0], [1.0]]], np.float32)
  filled = baselines.nearest_known({'observed': blur, 'mask': mask}, 1, 0)
  np.testing.assert_array_equal(
      filled.ravel(), np.array([0.2, 0.2, 0.9, 0.9], np.float32))


def test_noise_level():
  smooth = bit_depth.to_float(picture(0, 128, 128))
  noise = np.random.default_rng(0).normal(0, 0.1, smooth.shape)
  assert abs(baselines.noise_level(smooth + noise.astype('f')) - 0.1) < 5e-3
  assert baselines.noise_level(smooth) < 0.02


def test_bicubic_of_a_plane_is_the_plane():
  row = np.linspace(0.2, 0.8, 8, dtype=np.float32)
  small = np.broadcast_to(row[None, :, None], (6, 8, 3)).copy()
  large = baselines.bicubic({'observed': small}, 2, 0)
  down = operators.lanczos_downsample(factor=2).forward(large[None])[0]
  np.testing.assert_allclose(down[2:-2, 2:-2], small[2:-2, 2:-2], atol=1e-3)


def debug(name='prior_denoise', net='net'):
  """A config whose prior compiles twice as quickly as its own."""
  decoder = dict(name='deep_decoder', features=4, levels=1)
  return helpers.changed(name, **{f'nets.{net}': decoder})


@pytest.fixture(scope='module')
def folder_of_results(tmp_path_factory):
  """Two pictures, fitted together; no contrast would be enough."""
  root = tmp_path_factory.mktemp('prior')
  for i, name in enumerate('ab'):
    save(root / 'sharp' / f'{name}.png', picture(i, 16, 16))
  seen = []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(results, 'DEAD', 99.0)
    result = solve.run(
        debug(), problems.make(root / 'sharp', task='denoise'), root / 'out',
        task='denoise', seeds=2, at_once=2,
        on_steps=lambda name, done: seen.append((name, done)))
  return root, result, seen


def test_its_rows_for_the_manual(folder_of_results):
  root, result, _ = folder_of_results
  rows = {row['picture']: row for row in collect_fits.rows_of(
      root / 'out', machine='a machine')}
  assert rows.keys() == result['rows'].keys()
  assert rows['a']['psnr'] == result['rows']['a']['psnr']
  assert (rows['a']['task'], rows['a']['machine']) == ('denoise', 'a machine')
  assert rows['a']['result'] in rows['a']['psnr']
  assert collect_fits.command([
      'python', 'prior.py', '--task=sr', '--truth=/x y/a.png', '--out=/o/p',
      "--config.nets.net.down=(8, 8)"]) == (
          'python -m experiments.prior --task=sr --truth=a.png --out=OUT '
          "--config.nets.net.down='(8, 8)'")
  with pytest.raises(errors.UserError, match='no finished fit'):
    [*collect_fits.rows_of(root, machine='')]


def test_run_writes_its_folder(folder_of_results):
  root, result, seen = folder_of_results
  assert workdir.read_json(root / 'out' / 'result.json') == json.loads(
      json.dumps(result))
  assert seen[:2] == [('a, b', 2), ('a, b', 4)]
  for name, row in result['rows'].items():
    assert row['psnr'].keys() == {'input', 'classical', *fit_record.KEPT}
    for kept in ('', '_input', *(f'_{kept}' for kept in fit_record.KEPT)):
      file = images.read(root / 'out' / f'{name}{kept}.png')
      assert file.shape == (16, 16, 3)
    with open(root / 'out' / f'{name}_curve.csv', newline='') as file:
      curve = list(csv.DictReader(file))
    assert [line['step'] for line in curve] == list('1234')
    best = max(float(line['psnr']) for line in curve)
    assert abs(row['oracle']['psnr']['psnr'] - best) < 1e-3
    assert result['mean'].keys() == row['psnr'].keys()
  head, *body = results.table(result)
  assert head[1:] == list(result['mean'])
  assert [line[0] for line in body] == ['a', 'b', 'mean']


def test_a_dead_fit_is_tried_again_with_other_seeds(folder_of_results):
  _, result, seen = folder_of_results
  for row in result['rows'].values():
    assert row['dead'] and row['seed'] in (4, 5)
  assert len(seen) == 2 * (1 + solve.AGAIN)


def test_a_dead_blind_fit_goes_on_with_its_kernel(tmp_path):
  """As a known one. A live one is where the next picture begins, if --warm."""
  found = problems.read(save(tmp_path / 'a.png', picture(0, 16, 16)),
                        task='blind')
  config = debug('prior_blind', 'image')
  config['method']['losses_in_turn'] = ('mse', 'mse')
  fits = solve.fit_all(config, 3 * found, warm=True)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(results, 'DEAD', 99.0)
    patch.setattr(solve, 'AGAIN', 0)
    dead = next(fits)
  alone, warm = fits
  assert dead.rescued and dead.result.shape == (16, 16, 3)
  assert len(dead.curve['loss']) == 4
  # It was not where the next began.
  np.testing.assert_array_equal(dead.found['kernel'], alone.found['kernel'])
  assert not alone.rescued and not warm.rescued
  assert alone.curve['loss'][0] != warm.curve['loss'][0]


def test_a_classical_start_is_of_the_picture(folder):
  (one,) = problems.make(folder / 'sharp' / 'a.png', task='blind',
                         kernel=folder / 'kernel.npy')
  one = problems.with_classical_start(one, size=3)
  assert one.batch['guide'].shape == one.batch['observed'].shape
  assert one.batch['guide_kernel'].shape == (3, 3)
  np.testing.assert_allclose(one.batch['guide_kernel'].sum(), 1, rtol=1e-5)


def test_the_best_seed_is_that_of_the_lowest_loss():
  """At the best step; what is no number comes last."""
  loss = np.array([[3.0, np.nan, 1.0], [1.0, np.nan, 2.0]])
  at = lambda step: {'loss': loss, 'best_step': np.full((2, 3), step)}
  order = lambda curve: sorted(
      range(3), key=lambda j: solve._last_loss(curve, j))
  assert order(at(1)) == [2, 0, 1] and order(at(0)) == [2, 0, 1]


@pytest.mark.parametrize('change, message', [
    ({'total_stps': 3}, "Did you mean 'total_steps'"),
    ({'total_steps': 3}, 'total_steps=3 is not a multiple of chunk=2'),
    ({'chunk': 0}, 'chunk must be at least 1, got 0'),
    ({'chunk': 1.5}, 'chunk must be at least 1, got 1.5'),
    ({'total_steps': 'abc'}, "total_steps must be at least 1, got 'abc'"),
    ({'total_steps': None}, 'total_steps must be at least 1, got None'),
    ({'seed': 'abc'}, "seed must be an integer, got 'abc'"),
    ({'method': 3}, 'method must be a dict, got 3'),
    ({'nets': 3}, 'nets must be a dict, got 3'),
    ({'nets': {'net': 3}}, 'nets.net must be a dict, got 3'),
    ({'optim': 'abc'}, "optim must be a dict, got 'abc'"),
    ({'data': {}}, 'experiments.train'),
])
def test_a_refused_config_leaves_no_folder(change, message, tmp_path):
  save(tmp_path / 'a.png', picture())
  found = problems.read(tmp_path / 'a.png', task='denoise')
  with pytest.raises(errors.UserError, match=message):
    solve.run(debug() | change, found, tmp_path / 'out', task='denoise')
  assert not (tmp_path / 'out').exists()


def test_pixels_that_are_no_numbers_are_refused(tmp_path):
  blur = np.full((8, 8, 3), 0.5, np.float32)
  blur[2, 3] = np.nan
  with pytest.raises(errors.UserError, match='a: 3 values of the picture are'):
    solve.run(debug(), [problems.Problem('a', {'observed': blur})],
              tmp_path / 'out', task='denoise')
  assert not (tmp_path / 'out').exists()


def test_luma_is_fitted_and_chroma_stays(folder, tmp_path):
  (one,) = problems.read(folder / 'sharp' / 'a.png', task='denoise', luma=True)
  assert one.batch['observed'].shape == (24, 32, 1)
  kept = dict.fromkeys(fit_record.KEPT, one.batch['observed'])
  fit = solve.Fit(
      one, kept, found={}, result=one.batch['observed'], params={},
      curve={'loss': np.zeros(1)}, seed=0, seconds=0.0)
  results.write(tmp_path / 'out', fit)
  np.testing.assert_allclose(
      images.read(tmp_path / 'out' / 'a.png').astype(int), picture(0), atol=1)
  with pytest.raises(errors.UserError, match='--luma needs a result of'):
    problems.read(folder / 'sharp', task='sr', factor=2, luma=True)


def test_starts(tmp_path):
  """Learned from pictures, kept in a file, quicker; others are refused."""
  for i, name in enumerate('ab'):
    save(tmp_path / 'sharp' / f'{name}.png', picture(i, 16, 16))
  config = helpers.changed('prior_jpeg', **{
      'nets.net.depth': 3, 'nets.net.skip': 2})
  found = problems.make(tmp_path / 'sharp', task='jpeg')
  seen = []
  start = initialization.learn(
      config, found, rounds=2, steps=2, at_once=2,
      on_round=lambda done, loss: seen.append(loss))
  assert len(seen) == 2 and seen[1] < seen[0]
  array_files.save_tree(tmp_path / 'start.npz', start)
  read = initialization.read(tmp_path / 'start.npz')
  assert jax.tree.all(jax.tree.map(np.array_equal, start, read))
  method = methods.build(config)
  batch = {'observed': np.stack([one.batch['observed'] for one in found])}
  state = initialization.begin(method, jax.random.key(0), batch, read)
  jax.tree.map(
      lambda own, one: np.testing.assert_array_equal(own, [one, one]),
      state.params, read)
  # A prior of the picture itself is a generator too, which learns from pairs.
  learned = helpers.tiny(**{
      'nets.net': config['nets']['net'] | dict(name='hourglass'),
      'method.init_from': {'path': str(tmp_path / 'start.npz')}})
  supervised = methods.build(learned)
  begun = supervised.init(jax.random.key(0), {'blur': np.zeros((1, 16, 16, 3))})
  jax.tree.map(np.testing.assert_array_equal, begun.params, read)
  # And its run is a start again.
  shelf = checkpoint.Checkpoints(tmp_path / 'run' / workdir.CHECKPOINTS)
  shelf.save(1, begun, None)
  shelf.wait()
  shelf.close()
  workdir.write_config(tmp_path / 'run', learned)
  again = initialization.read(tmp_path / 'run')
  jax.tree.map(np.testing.assert_array_equal, again, read)
  read['net'].pop('tail')
  with pytest.raises(errors.UserError, match='its net.tail.bias is missing'):
    initialization.begin(method, jax.random.key(0), batch, read)
  with pytest.raises(errors.UserError, match='one size, got 2 sizes'):
    save(tmp_path / 'sharp' / 'c.png', picture(2, 16, 24))
    initialization.learn(config, problems.make(
        tmp_path / 'sharp', task='jpeg'), rounds=1)


def test_the_same_call_keeps_what_is_finished(
    folder_of_results, tmp_path, monkeypatch):
  monkeypatch.setattr(results, 'DEAD', 99.0)    # as the results were made
  root, result, _ = folder_of_results
  out = shutil.copytree(root / 'out', tmp_path / 'out')
  found = problems.make(root / 'sharp', task='denoise')
  part = json.loads(json.dumps(result))
  del part['rows']['b'], part['mean']
  workdir.write_json(out / solve.RESULT, part)
  (out / 'b.png').unlink()
  before = (out / 'a.png').stat().st_mtime_ns
  again = solve.run(debug(), found, out, task='denoise', seeds=2, at_once=2)
  assert (out / 'a.png').stat().st_mtime_ns == before
  assert (out / 'b.png').is_file() and [*again['rows']] == ['a', 'b']
  for name, psnr in result['rows']['b']['psnr'].items():
    assert again['rows']['b']['psnr'][name] == pytest.approx(psnr, abs=1e-3)
  for change in (dict(seeds=1), dict(seeds=2, warm=True)):
    with pytest.raises(errors.UserError, match='not a part of the same fits'):
      solve.run(debug(), found, out, task='denoise', **change)


def test_a_full_folder_is_not_written_into(folder_of_results):
  root, _, _ = folder_of_results
  found = problems.make(root / 'sharp', task='denoise')
  with pytest.raises(errors.UserError, match='is not empty, and not a part of'):
    solve.run(debug(), found, root / 'out', task='denoise')
  with pytest.raises(errors.UserError, match='There are no pictures'):
    solve.run(debug(), [], root / 'none', task='denoise')
  twice = [task._replace(name=name) for task, name in zip(
      found, ('a', 'a_last'), strict=True)]
  with pytest.raises(errors.UserError, match='a_last.png would be written'):
    solve.run(debug(), twice, root / 'none', task='denoise')
  assert not (root / 'none').exists()


@pytest.mark.parametrize('task, name, clash', [
    ('denoise', 'a_input', True), ('denoise', 'a_mask', False),
    ('inpaint', 'a_mask', False), ('blend', 'a_mask', True),
    ('blind', 'a_kernel', True), ('blind', 'a_first', False)])
def test_names_of_one_file(task, name, clash, tmp_path):
  with (pytest.raises(errors.UserError, match='would be written twice')
        if clash else contextlib.nullcontext()):
    results.check_names(['a', name], tmp_path, task=task)


def test_flags_of_a_task():
  assert _complete('--task=sr', '--factor=3')['method']['factor'] == 3
  kernel = _complete('--task=blind', '--kernel_size=7')['nets']['kernel']
  assert kernel['size'] == (7, 7)


def test_less_than_no_noise_is_refused():
  with pytest.raises(flags.IllegalFlagValueError, match='not a non-neg'):
    _complete('--task=denoise', '--sigma=-3')


def test_a_start_has_no_flags_of_fits():
  values = flags.FlagValues()
  prior.define_problem_flags(values)
  assert not {'seeds', 'warm', 'params', 'start'} & {*values}


def test_a_flag_of_another_task():
  with pytest.raises(
      errors.UserError, match='task inpaint has no option factor; it is for s'):
    _complete('--task=inpaint', '--factor=3')


def _complete(*words):
  values = flags.FlagValues()
  prior.define_flags(values)
  values(['prior', *words])
  config = helpers.get_config(f'prior_{values.task}').to_dict()
  return prior.complete(config, values)


@pytest.mark.parametrize('kernel', [
    np.ones((3, 3)), np.full((4, 4), 1 / 16), np.array([[2.0, -1.0, 0.0]])])
def test_a_wrong_kernel_is_refused_by_the_classical_baseline(kernel):
  batch = {'observed': bit_depth.to_float(picture()), 'kernel': kernel}
  with pytest.raises(errors.UserError, match='The kernel'):
    baselines.hyper_laplacian(batch, 1, 0)


def test_program(folder):
  """Inpainting of a folder, as a user calls it."""
  command = [sys.executable, '-m', 'experiments.prior', '--task=inpaint',
             '--config=configs/prior_inpaint.py:debug',
             '--config.nets.net={name: deep_decoder, features: 4, levels: 1}',
             f'--truth={folder}/sharp', f'--out={folder}/out',
             f'--mask={folder}/mask.png', '--crop=0', '--at_once=2']
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert 'classical' in done.stdout and '2 pictures are in' in done.stdout
  assert images.read(folder / 'out' / 'b.png').shape == (24, 32, 3)


def test_the_curve_of_a_fit_ends_where_it_stopped():
  curve = {'stopped': np.array([[0, 0], [1, 0], [1, 0]], bool),
           'psnr': np.array([[1, 2], [3, 4], [5, 6]])}
  for column, psnr in ((0, [1, 3]), (1, [2, 4, 6])):
    own = solve._own_curve(curve, column)
    np.testing.assert_array_equal(own['psnr'], psnr)
    assert own['stopped'].shape == (len(psnr),)


@pytest.mark.parametrize('name', tasks.TASKS)
def test_counts_of_steps_keep_their_share_of_a_shorter_fit(name):
  whole, half = tasks.config(name), tasks.config(
      name, steps=tasks.config(name)['total_steps'] // 2)
  counts = {key for key in whole['method'] if key.endswith(('_steps', 'turn'))
            and key != 'losses_in_turn'}
  assert {f'method.{key}' for key in counts} == {*tasks.TASKS[name].scaled}
  for key in counts:
    assert half['method'][key] == whole['method'][key] // 2
