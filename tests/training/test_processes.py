"""A whole process of a training that is stopped, see `harness.programs`."""

import re
import signal

import sample_pictures

from deblur_jax.training import checkpoint, workdir
from tests.harness import programs


def long(root):
  """A training on pictures that take no time to make."""
  sample_pictures.gopro(root)
  return (*programs.TRAIN, '--config.total_steps=3000',
          '--config.save_every=3000', *(
              f'--config.data.{split}={{name: gopro, root: {root}, '
              f'subset: blur, split: {split}}}' for split in ('train', 'test')))


def begun(folder):
  return lambda: len(workdir.read_metrics(folder)) > 2


def test_sigterm_saves_and_exits_with_143(tmp_path):
  folder = tmp_path / 'run'
  code, printed = programs.run(
      programs.Program(long(tmp_path / 'gopro')), tmp_path / 'in', folder,
      stop=begun(folder), by=signal.SIGTERM)
  assert code == 128 + signal.SIGTERM, printed
  step = int(re.search(r'Stopped after step (\d+), which is saved', printed)[1])
  checkpoints = checkpoint.Checkpoints(
      folder / workdir.CHECKPOINTS, read_only=True)
  assert checkpoints.latest_step() == step < 3000
  checkpoints.close()
  assert [line['step'] for line in workdir.read_metrics(folder)] == [
      *range(1, step + 1)]
