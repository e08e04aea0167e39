"""Folders of restored pictures, whoever made them, against the sharp ones."""

import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from deblur_jax import errors, metrics
from deblur_jax.blur import deconvolve, kernels, operators
from deblur_jax.data import builtin, images, kernel_files
from deblur_jax.evaluation import folders as folder_scores
from deblur_jax.evaluation import nonblind_deconvolution as deconvolve_folder
from deblur_jax.ops import bit_depth

NAMES = ('a/one', 'two')


def write(folder, pictures):
  for name, picture in zip(NAMES, pictures, strict=True):
    path = folder / f'{name}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(bit_depth.to_uint8(np.asarray(picture))).save(path)
  return folder


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """Two photos, blurred by a line each, and restored with two kernels."""
  root = tmp_path_factory.mktemp('measure')
  photos = builtin.pictures(split='test')
  sharp = np.stack([photos.read(i)['sharp'][:96, :112] / 255
                    for i in range(2)]).astype(np.float32)
  true, wrong = map(np.asarray, jax.jit(lambda: (
      kernels.line(7.0, 0.5, size=15), kernels.line(5.0, 0.8, size=15)))())
  blur = blurred(sharp, true)
  wiener = jax.jit(deconvolve.with_kernel('wiener'))
  np.savez(root / 'kernels.npz', one=true[None], two=wrong)
  return {'sharp': write(root / 'sharp', sharp),
          'blur': write(root / 'blur', blur),
          'oracle': write(root / 'oracle', wiener(blur, true)),
          'restored': write(root / 'restored', wiener(blur, wrong)),
          'kernel': true}


blurred = jax.jit(lambda sharp, kernel: operators.uniform(
    kernel, border='symmetric').forward(sharp))


def read(folder):
  return np.stack([images.read(folder / f'{name}.png') for name in NAMES]
                  ).astype(np.float32) / 255


def test_the_numbers_are_those_of_the_table(folders):
  sides = dict(sharp=folders['sharp'], blur=folders['blur'],
               oracle=folders['oracle'], metrics=['blur_effect'])
  result = folder_scores.run(folders['restored'], **sides)
  wrong = [result[title].pop('error_ratio') for title in ('mean', 'input')]
  right = folder_scores.run(folders['oracle'], **sides)['mean']['error_ratio']
  assert right == pytest.approx(1) and min(wrong) > 1.5
  sharp = read(folders['sharp'])

  @jax.jit
  def of_table(image):
    values = {name: fn(image, sharp) for name, fn in metrics.STANDARD.items()}
    values['blur_effect'] = metrics.METRICS['blur_effect'].fn(image)
    return jax.tree.map(jnp.mean, values)

  for title, side in (('mean', 'restored'), ('input', 'blur')):
    expected = jax.tree.map(float, of_table(read(folders[side])))
    assert result[title] == pytest.approx(expected, rel=1e-5)
  assert [row['name'] for row in result['rows']] == list(NAMES)
  assert list(result['sharp']) == ['blur_effect']
  assert result['sharp']['blur_effect'] < result['input']['blur_effect']


def test_reblur_residual_knows_the_kernel(folders, tmp_path):
  Image.fromarray(bit_depth.to_uint8(
      folders['kernel'] / folders['kernel'].max())).save(tmp_path / 'k.png')
  np.save(tmp_path / 'k.npy', folders['kernel'][::-1, ::-1])
  for kernel, correlation in (('k.png', False), ('k.npy', True)):
    residuals = {
        side: folder_scores.run(
            folders[side], blur=folders['blur'], kernels=tmp_path / kernel,
            correlation=correlation)['mean']['reblur_residual']
        for side in ('sharp', 'restored', 'blur')}
    assert residuals['sharp'] < 3e-3 < residuals['restored'], residuals
    assert residuals['sharp'] < 0.2 * residuals['blur']


def test_kernels_go_by_the_names_of_the_pictures(folders, tmp_path):
  (tmp_path / 'a').mkdir()
  np.save(tmp_path / 'a' / 'one.npy', folders['kernel'])
  np.save(tmp_path / 'two.npy', np.ones((3, 1)) / 3)
  (tmp_path / 'notes.txt').write_text('not a kernel')
  read_back = kernel_files.read(tmp_path, names=NAMES)
  assert [kernel.shape for kernel in read_back.values()] == [(15, 15), (3, 1)]
  rows = folder_scores.run(folders['sharp'], blur=folders['blur'],
                           kernels=tmp_path)['rows']
  assert rows[0]['reblur_residual'] < 3e-3 < rows[1]['reblur_residual']
  (tmp_path / 'two.npy').rename(tmp_path / 'three.npy')
  with pytest.raises(
      errors.UserError, match='no kernel two, only a/one, three'):
    folder_scores.run(folders['restored'], blur=folders['blur'],
                      kernels=tmp_path)
  np.savez(tmp_path / 'three.npz', folders['kernel'])
  Image.new('RGB', (3, 3), 'white').save(tmp_path / 'three.png')
  with pytest.raises(errors.UserError, match='two kernels three; remove'):
    kernel_files.read(tmp_path, names=['three'])


def test_residual_of_light(folders, tmp_path):
  sharp = read(folders['sharp'])
  light = blurred(sharp ** 2.2, folders['kernel'])
  write(tmp_path / 'blur', np.clip(light, 0, 1) ** (1 / 2.2))
  np.save(tmp_path / 'k.npy', folders['kernel'])
  of_light, of_stored = (folder_scores.run(
      folders['sharp'], blur=tmp_path / 'blur', kernels=tmp_path / 'k.npy',
      gamma=gamma)['mean']['reblur_residual'] for gamma in (2.2, 1.0))
  assert of_light < 3e-3 < 2 * of_stored and of_light < of_stored / 2


def test_known_kernels_restore(folders, tmp_path):
  np.save(tmp_path / 'k.npy', folders['kernel'][::-1, ::-1] * 0.5
          + 0.5 * np.eye(15) / 15)
  kernel = np.load(tmp_path / 'k.npy')
  # Not symmetric.
  kernel = np.roll(kernel, (1, 2), axis=(0, 1)) / kernel.sum()
  np.save(tmp_path / 'k.npy', kernel)
  blur = blurred(read(folders['sharp']), kernel.astype(np.float32))
  write(tmp_path / 'blur', np.clip(blur, 0, 1))
  psnr = {}
  for name, options in (
      ('right', {}), ('turned', dict(correlation=True)),
      ('mended', dict(correlation=True, turn_by=folders['sharp']))):
    turned = deconvolve_folder.run(
        tmp_path / 'blur', tmp_path / 'k.npy', tmp_path / name,
        method='wiener', options={'noise': 1e-3}, **options)
    assert turned == dict.fromkeys(NAMES, name == 'mended')
    error = read(tmp_path / name) - read(folders['sharp'])
    psnr[name] = -10 * np.log10((error ** 2).mean())
  assert psnr['right'] == psnr['mended'] > psnr['turned'] + 3
  with pytest.raises(
      errors.UserError, match='right is not empty; give another'):
    deconvolve_folder.run(tmp_path / 'blur', tmp_path / 'k.npy',
                          tmp_path / 'right', method='wiener')


def test_kohler(tmp_path):
  rng = np.random.default_rng(0)
  sharp = np.kron(rng.random((24, 24, 3)), np.ones((8, 8, 1)))
  frames = tmp_path / 'kohler' / 'Image2' / 'Kernel3'
  frames.mkdir(parents=True)
  for k, picture in enumerate((sharp[::-1], sharp, sharp.swapaxes(0, 1))):
    Image.fromarray(bit_depth.to_uint8(picture)).save(
        frames / f'GroundTruth2_3_{k}.png')
  (tmp_path / 'restored').mkdir()
  Image.fromarray(bit_depth.to_uint8(0.8 * sharp)).save(  # darkness is forgiven
      tmp_path / 'restored' / 'Blurry2_3.png')
  means = folder_scores.run(
      tmp_path / 'restored', kohler=tmp_path / 'kohler')['mean']
  assert means['psnr_kohler'] > 45 and means['ms_ssim_kohler'] > 0.99


@pytest.mark.parametrize('change, message', [
    (dict(sharp=None), 'No metric to compute: give the folder of the sharp'),
    (dict(sharp=None, metrics=['ssim_ecc']), 'ssim_ecc needs the sharp pict'),
    (dict(sharp=None, oracle='oracle'), 'error_ratio needs the sharp pictures'),
    (dict(kernels='kernels.npz'), 'reblur_residual needs the blurry pict'),
    (dict(kohler='sharp'), 'has no frames of a/one: names must end like 1_4'),
    (dict(sharp='sharp/a'), 'sharp/a has no a/one and 1 more'),
    (dict(restored='empty'), 'empty: no pictures there'),
    (dict(sharp='small'), r'small/two.png is 60x50, and .*two.png 112x96'),
])
def test_mistakes_are_one_line(folders, tmp_path, change, message):
  root = folders['sharp'].parent
  (root / 'empty').mkdir(exist_ok=True)
  write(root / 'small', [read(folders['sharp'])[0], np.zeros((50, 60, 3))])
  sides = dict(restored='restored', sharp='sharp') | change
  for key in ('restored', 'sharp', 'oracle', 'kernels', 'kohler'):
    if sides.get(key):
      sides[key] = root / sides[key]
  with pytest.raises(errors.UserError, match=message):
    folder_scores.run(**sides)


@pytest.mark.parametrize('array, message', [
    (np.full((4, 4), 1 / 16), 'k.npy: k has the even size 4x4'),
    (np.full((3, 3), 1.0), 'k.npy: k sums to 9'),
    (np.array(['a']), 'k.npy: no kernels there'),
    (np.array([{}]), 'Cannot read kernels from'),
])
def test_bad_kernels(tmp_path, array, message):
  np.save(tmp_path / 'k.npy', array, allow_pickle=True)
  with pytest.raises(errors.UserError, match=message):
    kernel_files.read(tmp_path / 'k.npy', names=['k'])


def test_measured_kernels_of_others(real_data):
  npz = real_data / 'kernels' / 'motion_kernels.npz'
  with pytest.raises(errors.UserError, match='psf64_ninja_0 has the even size'):
    kernel_files.read(npz, names=['psf64_ninja_0'])
  assert kernel_files.read(npz, names=['levin09_3'])['levin09_3'].ndim == 2
  png = real_data / 'levin' / 'gt' / 'kernel1.png'
  levin = kernel_files.read(png, names=['im1', 'im2'])
  assert abs(levin['im1'].sum() - 1) < 1e-5


def test_the_program(folders, tmp_path):
  """Of one sharp picture there is no restored one, another is restored whole.

  What is infinite must be JSON, too.
  """
  out = tmp_path / 'numbers.json'
  sharp = shutil.copytree(folders['sharp'], tmp_path / 'sharp')
  shutil.copy(sharp / 'two.png', sharp / 'three.png')
  restored = shutil.copytree(folders['restored'], tmp_path / 'restored')
  shutil.copy(sharp / 'two.png', restored / 'two.png')
  done = subprocess.run(
      [sys.executable, '-m', 'experiments.evaluate_folder',
       '--metrics=blur_effect', f'--restored={restored}', f'--sharp={sharp}',
       f'--out={out}'],
      cwd=ROOT, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr
  assert 'three of --sharp: no restored picture has this name' in done.stderr
  written = json.loads(out.read_text(), parse_constant=pytest.fail)
  assert written['without_partner'] == ['three']
  assert written['mean']['psnr_uint8'] == float('inf')
  assert len(written['rows']) == 2
