"""A resumed fit gives the values of an undisturbed one."""

import functools

import helpers
import numpy as np
import pytest

from deblur_jax import errors
from deblur_jax.ops import array_files
from deblur_jax.priors import problems, solve, unfinished

DECODER = dict(name='deep_decoder', features=4, levels=1)


class Killed(Exception):
  """Stands for a kill between two chunks of steps."""


@pytest.fixture(autouse=True)
def always_due(monkeypatch):
  monkeypatch.setattr(
      unfinished, 'Saves', functools.partial(unfinished.Saves, every=0.0))


def found(picture_folder, task):
  options = {}
  if task == 'blind':
    np.save(f'{picture_folder}/kernel.npy', np.full((3, 3), 1 / 9))
    options = dict(kernel=f'{picture_folder}/kernel.npy')
  return problems.make(f'{picture_folder}/one.png', task=task, crop=16,
                       **options)


def config(name, *nets):
  return helpers.changed(name, total_steps=6, chunk=2, **{
      f'nets.{net}': DECODER for net in nets})


def stopped(config, task, given, out, *, after):
  def on_steps(name, done):
    if done > after:
      raise Killed

  with pytest.raises(Killed):
    solve.run(config, given, out, task=task, on_steps=on_steps)


@pytest.mark.parametrize('task, nets', [
    ('denoise', ['net']), ('blind', ['image'])])
def test_it_resumes_with_the_same_values(
    task, nets, picture_folder, tmp_path):
  settings, given = config(f'prior_{task}', *nets), found(picture_folder, task)
  steps = []
  whole = solve.run(settings, given, tmp_path / 'whole', task=task)
  stopped(settings, task, given, tmp_path / 'out', after=2)
  solve.run(settings, given, tmp_path / 'out', task=task,
            on_steps=lambda name, done: steps.append(done))
  assert steps[0] == 4    # not 2
  assert whole['rows'].keys() == {'one'}
  files = lambda name: {
      path.name: path.read_bytes() for path in (tmp_path / name).iterdir()
      if path.suffix in ('.png', '.csv')}
  assert len(files('whole')) > 4 and files('out') == files('whole')
  assert not (tmp_path / 'out' / unfinished.FOLDER).exists()


def test_faults_of_the_folder(picture_folder, tmp_path):
  settings, given = config('prior_denoise', 'net'), found(
      picture_folder, 'denoise')
  out = tmp_path / 'out'
  stopped(settings, 'denoise', given, out, after=2)
  run = functools.partial(solve.run, problems=given, out=out, task='denoise')
  with pytest.raises(errors.UserError, match='not a part of the same fits'):
    run(dict(settings, seed=1))
  saved, = (out / unfinished.FOLDER).glob('*.npz')
  arrays = array_files.load(saved)
  name = next(iter(arrays))
  array_files.save(saved, arrays | {name: np.zeros(7)})
  with pytest.raises(errors.UserError, match='Delete this file to begin that'):
    run(settings)
  saved.write_bytes(saved.read_bytes()[:1000])
  with pytest.raises(errors.UserError, match='Cannot resume the fit in'):
    run(settings)
  saved.unlink()
  assert run(settings)['rows'].keys() == {'one'}
