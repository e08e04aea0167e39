"""The program that makes the shipped model, with a smaller network."""

import json
import os
import runpy
import subprocess
import sys

import helpers
import numpy as np
import pytest
import run_folders
import sample_pictures
from PIL import Image

from deblur_jax import errors
from deblur_jax.methods import pretrained
from deblur_jax.pretrained import zoo
from deblur_jax.training import workdir
from experiments.release import training_sets

ABOUT = {'summary': 'A test.', 'licence': 'MIT',
         'sources': [{'name': 'noise', 'terms': 'none'}]}
TEACHER = dict(name='maxim', features=4, depth=1, groups=1, bottleneck=1,
               stages=1, scales=1, reduce=2)
# The program, but for the size of what it trains, and of its teachers.
PROGRAM = '''
import os, sys
from configs import small as config_file
get_config = config_file.get_config
def smaller(arg=None):
  config = get_config(arg)
  config.data.loader.crop = 32
  config.nets.net.update(features=4, depth=1, rank=2, dtype='float32')
  if 'teacher' in config.method:
    config.method.teacher.path = os.environ['TEACHER']
    # Both have one group.
    config.method.layers = tuple((x, x) for x, _ in config.method.layers[:2])
    config.method.loss = config.method.output = 'l1'    # compiles sooner
  config.validate = dict(pictures=1, crop=64)    # as those of the tests
  return config
config_file.get_config = smaller
from deblur_jax.ops import precision
from experiments import common
from experiments.release import train_small
precision.ask_for_onednn = lambda: None    # its programs cannot be kept
train_small.BEGINS_WITH = os.environ['TEACHER']
train_small.PARTS = {'': 'run'}    # the last of five
common.run(train_small.main)
'''


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
  """A run of a larger network."""
  folder = tmp_path_factory.mktemp('teacher') / 'run'
  run_folders.untrained(folder, helpers.tiny(**{
      'nets.net': TEACHER, 'data.loader.crop': 64}), scale=0.3)
  return folder


@pytest.fixture
def make(tmp_path, picture_folder, teacher):
  """Runs the program in a process of its own, for its flags are others' too."""
  about = tmp_path / 'about.json'
  about.write_text(json.dumps(ABOUT))

  def run(**changes):
    given = dict(photos=picture_folder, about=about, steps=1,
                 workdir=tmp_path / 'run', out=tmp_path / 'models')
    return subprocess.run(
        [sys.executable, '-c', PROGRAM,
         *(f'--{key}={value}' for key, value in (given | changes).items())],
        cwd=helpers.ROOT, capture_output=True, text=True,
        env=os.environ | {'TEACHER': str(teacher)})

  return run


def test_learns_from_truth_and_from_a_teacher(make, teacher, tmp_path):
  random = np.random.default_rng(0)
  for number in range(10):
    sample_pictures.save(tmp_path / 'pairs' / f'{number}.png',
                         random.integers(0, 256, (64, 128, 3), np.uint8))
  sample_pictures.save(tmp_path / 'blurred' / 'one.png',
                       random.integers(0, 256, (64, 64, 3), np.uint8))
  gopro = sample_pictures.gopro(tmp_path / 'gopro', height=64, width=64)
  options = dict(photos='', pairs=tmp_path / 'pairs', gopro=gopro,
                 blurred=tmp_path / 'blurred', teacher=teacher)
  done = make(**options)
  assert done.returncode == 0, done.stderr
  folder = tmp_path / 'models'
  card = zoo.card('small', folder=folder)
  assert card['trained'] == {'configs/small.py': 1}
  pictures = {name: scores['pictures']
              for name, scores in card['scores'].items()}
  assert pictures == {'test': 2, 'pairs': 1}
  # As the page of the manual shows it.
  of_manual = runpy.run_path(str(helpers.ROOT / 'docs' / 'hooks.py'))
  assert '| pairs | 1 |' in of_manual['_card']('small', card)
  assert card['sources'] == ABOUT['sources']
  zoo.verify('small', folder=folder)
  config = workdir.read_config(tmp_path / 'run' / 'run')
  assert config['method']['name'] == 'distill'
  # Its sources are only those that were given.
  assert {*config['data']['train']['sources']} == {
      'gopro', 'pairs', 'teacher_0'}
  restored = tmp_path / 'run' / 'teacher_0' / 'sharp' / 'one.png'
  assert np.asarray(Image.open(restored)).shape == (64, 64, 3)
  # What both have is the teacher's; one step has hardly changed it.
  student, theirs = (pretrained.any_weights(pretrained.Start(str(path)))
                     for path in (tmp_path / 'run' / 'run', teacher))
  name = 'stage_0_input_conv_0'
  np.testing.assert_allclose(
      student[name]['kernel'], theirs[name]['kernel'], atol=2e-3)


@pytest.mark.parametrize('content, message', [
    ('{"summary": "A test."}', 'given.json.licence is missing'),
    ('{', 'given.json'),
])
def test_mistakes(content, message, tmp_path):
  path = tmp_path / 'given.json'
  path.write_text(content)
  with pytest.raises(errors.UserError, match=message):
    training_sets.about(path)


def test_a_mistake_is_told_before_hours_of_work(make, tmp_path):
  path = tmp_path / 'given.json'
  path.write_text('{')
  done = make(about=path)
  assert done.returncode == 2 and 'given.json' in done.stderr
  assert done.stderr.count('\n') == 1
  assert not (tmp_path / 'run' / 'pixels').exists()
