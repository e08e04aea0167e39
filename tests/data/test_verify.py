"""Each fault of a set is found and named, and a good set is left alone."""

import json
import subprocess
import sys

import numpy as np
import pytest
import sample_pictures as pictures
from PIL import Image

from deblur_jax import data, errors
from deblur_jax.data import images, sources, verify


def make_source(pairs, subset=None):
  """A source of pairs in memory."""
  return sources.Source([f'p{i}' for i in range(len(pairs))],
                       pairs.__getitem__, 'a test set', subset=subset)


def kinds(report):
  """[(kind, name)] of a report."""
  return [(problem.kind, problem.name) for problem in report.problems]


def textured(seed, average, *, frames=9):
  """A pair made as GoPro's: frames that move on, and their average."""
  rng = np.random.default_rng(seed)
  wide = rng.uniform(40, 220, (192, 256 + frames, 3))
  for axis in (0, 1, 1):
    wide = (wide + np.roll(wide, 1, axis)) / 2
  shots = [wide[:, i:i + 256] for i in range(frames)]
  return {'blur': np.rint(average(shots)).astype(np.uint8),
          'sharp': np.rint(shots[frames // 2]).astype(np.uint8)}


def linear(shots):
  """GoPro's subset blur."""
  return np.mean(shots, axis=0)


def gamma(shots):
  """GoPro's subset blur_gamma."""
  return np.mean(np.power(shots, 2.2), axis=0) ** (1 / 2.2)


def test_a_good_set(tmp_path):
  gopro = data.open_source(
      name='gopro', root=pictures.gopro(tmp_path), subset='blur')
  report = verify.full(gopro, crop=48)
  assert report.problems == [] and report.pairs == 5
  assert 15 < report.psnr[0] <= report.psnr[1] <= report.psnr[2] < 45
  assert verify.pixels(gopro, crop=48) is None


def test_every_fault_is_named(tmp_path):
  folder = pictures.gopro(tmp_path, counts=[('train', 9)])
  sequence = folder / 'train/GOPR0372_07_00'
  names = [f'GOPR0372_07_00/{i:06d}' for i in range(47, 56)]
  (sequence / 'sharp/000047.png').unlink()
  Image.new('RGB', (64, 40)).save(sequence / 'blur/000048.png')
  (sequence / 'blur/000049.png').write_bytes(b'not a picture')
  for side, picture in pictures.smooth(1, 20, 64).items():
    pictures.save(sequence / side / '000050.png', picture)
  other = pictures.smooth(77)
  pictures.save(sequence / 'blur/000051.png', other['sharp'])
  pictures.save(sequence / 'sharp/000051.png', other['blur'])
  pictures.save(sequence / 'blur/000052.png',
                images.read(sequence / 'sharp/000052.png'))
  pictures.save(sequence / 'blur/000053.png', np.zeros((48, 64, 3), np.uint8))
  broken = sequence / 'sharp/000054.png'
  broken.write_bytes(broken.read_bytes()[:-60])

  with pytest.raises(data.BadPairs) as caught:
    data.open_source(name='gopro', root=folder, subset='blur')
  report = verify.full(
      caught.value.source, problems=caught.value.problems, crop=32)
  assert kinds(report) == [
      ('missing', names[0]), ('size', names[1]), ('corrupt', names[2]),
      ('small', names[3]), ('swapped', names[4]), ('identical', names[5]),
      ('psnr', names[6]), ('corrupt', names[7])]


def test_subset():
  for average, right, wrong in ((linear, 'blur', 'blur_gamma'),
                                (gamma, 'blur_gamma', 'blur')):
    pairs = [textured(i, average) for i in range(8)]
    good = verify.full(make_source(pairs, subset=right))
    assert kinds(good) == []
    assert good.slope == pytest.approx(0.0 if average is linear else 0.6,
                                       abs=0.15)
    assert kinds(verify.full(make_source(pairs, subset=wrong))) == [
        ('subset', '')]
    with pytest.raises(errors.UserError, match=f'but it looks like {right!r}'):
      verify.pixels(make_source(pairs, subset=wrong), crop=64)
    few = verify.full(make_source(pairs[:2], subset=wrong))
    assert few.slope is None and few.problems == []


def test_pixels_refuses_what_is_wrong_as_a_whole():
  pairs = [pictures.smooth(i) for i in range(8)]
  swapped = [{'blur': p['sharp'], 'sharp': p['blur']} for p in pairs]
  same = [{'blur': p['sharp'], 'sharp': p['sharp']} for p in pairs]
  verify.pixels(make_source([*pairs[:7], swapped[7]]), crop=32)
  with pytest.raises(errors.UserError, match='8 problems: p0: looks swapped'):
    verify.pixels(make_source(swapped), crop=32)
  with pytest.raises(errors.UserError, match='are the same picture'):
    verify.pixels(make_source(same), crop=32)
  with pytest.raises(errors.UserError, match='p0: 64x48 is below crop 49'):
    verify.pixels(make_source(pairs), crop=49)
  with pytest.raises(errors.UserError, match='p3: the pictures differ in size'):
    pairs[3] = {'blur': pairs[3]['blur'][:40], 'sharp': pairs[3]['sharp']}
    verify.pixels(make_source(pairs), crop=32)


def test_headers_are_all_read(tmp_path):
  folder = pictures.gopro(tmp_path, counts=[('train', 12)])
  Image.new('RGB', (64, 40)).save(
      folder / 'train/GOPR0372_07_00/blur/000048.png')
  gopro = data.open_source(name='gopro', root=folder, subset='blur')
  with pytest.raises(errors.UserError, match=(
      '000048: the pictures differ in size: blur 64x40, sharp 64x48. '
      'See them all: python -m experiments.verify_data --source=gopro')):
    verify.headers(gopro, crop=32)


def test_real_gopro_is_linear(real_data):
  for split in ('train', 'test'):
    report = verify.full(data.open_source(
        name='gopro', root=real_data / 'gopro', split=split, subset='blur'))
    assert report.problems == [] and abs(report.slope) < 0.1


def test_real_pairs_are_not_called_swapped(real_data):
  for side, found in (('left', 0), ('right', 59)):
    pairs = data.open_source(
        name='side_by_side', root=real_data / 'pairs256', sharp_side=side)
    pairs = pairs._replace(names=pairs.names[:60])
    swapped = [p for p in verify.full(pairs).problems if p.kind == 'swapped']
    assert len(swapped) >= found
    assert found or not swapped


def test_command_finds_two_folders_of_pairs(tmp_path, request):
  for side in ('blur', 'sharp'):
    pictures.save(tmp_path / side / '1.png', pictures.smooth(1)[side])
  done = subprocess.run(
      [sys.executable, '-m', 'experiments.verify_data', '--json',
       f'--root={tmp_path}'],
      cwd=request.config.rootpath, capture_output=True, text=True)
  assert json.loads(done.stdout)['pairs'] == 1, done.stderr


def test_command(tmp_path, request):
  pictures.gopro(tmp_path)
  command = [sys.executable, '-m', 'experiments.verify_data', '--json',
             f'--root={tmp_path}']
  (tmp_path / 'test/GOPR0372_07_01/blur/000047.png').unlink()
  done = subprocess.run(
      command, cwd=request.config.rootpath, capture_output=True, text=True)
  train, test = map(json.loads, done.stdout.splitlines())
  assert done.returncode == 1, done.stderr
  assert (train['pairs'], train['problems']) == (5, [])
  assert test['problems'] == [{
      'kind': 'missing', 'name': 'GOPR0372_07_01/000047',
      'detail': 'no blur picture'}]
