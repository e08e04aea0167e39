"""Every layout is read in pairs, and every fault is one clear line."""

import numpy as np
import pytest
import sample_pictures as pictures
from PIL import Image

from deblur_jax import data, errors
from deblur_jax.data import images, layouts


def check(source, names):
  """The names, and that each pair is blurrier on its blurred side."""
  assert source.names == names
  for i in range(len(names)):
    pair = source.read(i)
    detail = {k: np.abs(np.diff(p.astype(int), axis=1)).mean()
              for k, p in pair.items()}
    assert list(pair) == list(source.keys)
    assert detail['blur'] < detail['sharp']
    assert source.sizes is None or source.sizes(i) == {
        key: p.shape[:2] for key, p in pair.items()}


def fill(root, **paths):
  """Writes pair i under the i-th path of each side."""
  for side, files in paths.items():
    for i, path in enumerate(files):
      pictures.save(root / path, pictures.smooth(i)[side])


def test_gopro_official(tmp_path):
  pictures.gopro(tmp_path / 'GOPRO_Large', subsets=('blur', 'blur_gamma'))
  pictures.save(tmp_path / 'GOPRO_Large/train/__MACOSX/blur/x.png',
                np.zeros((4, 4, 3), np.uint8))
  names = [f'GOPR0372_07_00/{i:06d}' for i in range(47, 52)]
  for root in (tmp_path, tmp_path / 'GOPRO_Large'):
    for subset in ('blur', 'blur_gamma'):
      check(data.open_source(name='gopro', root=str(root), subset=subset),
            names)
  assert len(layouts.guess(tmp_path)) == 4


@pytest.mark.parametrize(('layout', 'blur', 'sharp'), [
    ('mprnet', 'input', 'target'), ('mimo', 'blur', 'sharp'),
    ('crops', 'blur_crops', 'sharp_crops')])
def test_gopro_of_others(tmp_path, layout, blur, sharp):
  fill(tmp_path / 'test', blur=[f'{blur}/S-1.png', f'{blur}/S-2.png'],
       sharp=[f'{sharp}/S-1.png', f'{sharp}/S-2.png'])
  for given in (None, layout):
    check(data.open_source(name='gopro', root=tmp_path, split='test',
                           subset='blur', layout=given), ['S-1', 'S-2'])


def test_mixture(tmp_path):
  sides = [{'name': 'folder_pairs', 'blur': str(tmp_path / which / 'blur'),
            'sharp': str(tmp_path / which / 'sharp')} for which in 'ab']
  fill(tmp_path / 'a', blur=['blur/1.png'], sharp=['sharp/1.png'])
  fill(tmp_path / 'b', blur=['blur/1.png', 'blur/2.png'],
       sharp=['sharp/1.png', 'sharp/2.png'])
  one, two = sides
  mixture = dict(
      name='mixture', sources=dict(one=one | dict(weight=2), two=two))
  check(data.open_source(**mixture), ['one/1', 'one#1/1', 'two/1', 'two/2'])
  for sources, message in [
      ({}, 'must name sources'),
      (dict(one=one | dict(weight=0)), 'one.weight must be a whole number'),
      (dict(one=dict(name='photos', root=tmp_path / 'a' / 'sharp')),
       'one: .*has no pairs; make some')]:
    with pytest.raises(errors.UserError, match=message) as error:
      data.open_source(name='mixture', sources=sources)
    assert '\n' not in str(error.value)


def test_folder_pairs(tmp_path):
  fill(tmp_path, blur=['a/x/1.jpg', 'a/2.jpg'], sharp=['b/x/1.png', 'b/2.png'])
  check(data.open_source(name='folder_pairs', blur=tmp_path / 'a',
                         sharp=tmp_path / 'b'), ['2', 'x/1'])


@pytest.mark.parametrize('side', ['left', 'right'])
def test_side_by_side(tmp_path, side):
  order = ('sharp', 'blur') if side == 'left' else ('blur', 'sharp')
  for i in range(2):
    pair = pictures.smooth(i)
    pictures.save(tmp_path / f'{i}.png',
                  np.concatenate([pair[key] for key in order], axis=1))
  source = data.open_source(name='side_by_side', root=tmp_path,
                            sharp_side=side)
  check(source._replace(keys=order), ['0', '1'])
  np.testing.assert_array_equal(
      source.read(1)['blur'], pictures.smooth(1)['blur'])


def test_pairs_by_name(tmp_path):
  for i in range(2):
    pair = pictures.smooth(i)
    pictures.save(tmp_path / f'sub/{i}_blur.png', pair['blur'])
    pictures.save(tmp_path / f'sub/{i}_sharp.png', pair['sharp'])
  assert layouts.guess(tmp_path) == [dict(
      name='pairs_by_name', root=str(tmp_path), blur='{}_blur',
      sharp='{}_sharp')]
  check(data.open_source(name='pairs_by_name', root=tmp_path),
        ['sub/0', 'sub/1'])
  for change, message in ((dict(blur='blur'), 'must have {} once'),
                          (dict(blur='{}_sharp'), 'they must differ'),
                          (dict(blur='b{}'), 'no name has both')):
    with pytest.raises(errors.UserError, match=message):
      data.open_source(name='pairs_by_name', root=tmp_path, **change)


def test_part_of_the_names(tmp_path):
  """What is held back is not trained on."""
  names = [f'{side}/{i}.png' for side in ('blur', 'sharp') for i in range(5)]
  fill(tmp_path, blur=names[:5], sharp=names[5:])
  kwargs = dict(name='folder_pairs', blur=tmp_path / 'blur',
                sharp=tmp_path / 'sharp')
  train, test = (data.open_source(**kwargs, part=part)
                 for part in ((0, 0.6), (0.6, 1)))
  check(train, ['0', '1', '2'])
  check(test, ['3', '4'])
  np.testing.assert_array_equal(
      test.read(0)['blur'], images.read(tmp_path / 'blur' / '3.png'))
  assert test.options['part'] == (0.6, 1)
  for part, message in (((0.5, 0.5), 'two shares'), ((0, 2), 'two shares'),
                        (0.9, 'two shares'), ('ab', 'two shares'),
                        ((0.01, 0.02), 'none of the 5 names')):
    with pytest.raises(errors.UserError, match=message):
      data.open_source(**kwargs, part=part)


def test_scaled(tmp_path):
  fill(tmp_path, blur=['blur/1.png'], sharp=['sharp/1.png'])
  kwargs = dict(name='folder_pairs', blur=tmp_path / 'blur',
                sharp=tmp_path / 'sharp')
  whole = data.open_source(**kwargs)
  half = data.open_source(**kwargs, scale=0.5)
  height, width, _ = whole.read(0)['sharp'].shape
  pair = half.read(0)
  assert {p.shape for p in pair.values()} == {(height // 2, width // 2, 3)}
  assert half.sizes(0) == {key: p.shape[:2] for key, p in pair.items()}
  assert half.options['scale'] == 0.5 and 'scale' not in whole.options
  # A halved picture keeps its mean; that of every second pixel would not.
  means = [source.read(0)['sharp'].mean() for source in (whole, half)]
  assert abs(means[0] - means[1]) < 0.5
  for scale in (0, 1.5, 'half'):
    with pytest.raises(
        errors.UserError, match='scale must be a number above 0'):
      data.open_source(**kwargs, scale=scale)


@pytest.mark.parametrize('options', [
    {}, dict(part=(0.4, 1)), dict(window=3), dict(part=(0.4, 1), window=3),
    dict(halves=True)], ids=str)
def test_files_are_those_that_are_read(tmp_path, options):
  """However a source is made of another, what it says of its files holds."""
  source = data.open_source(
      name='gopro', root=pictures.gopro(tmp_path), subset='blur', **options)
  for part in (source, *source.parts.values()):
    for i in range(len(part.names)):
      found, files = part.read(i), part.files(i)
      assert found.keys() == files.keys()
      for key, path in files.items():
        np.testing.assert_array_equal(found[key], images.read(path))


def test_pixels_that_are_computed_have_no_files(tmp_path):
  gopro = dict(name='gopro', root=str(pictures.gopro(tmp_path)), subset='blur')
  assert data.open_source(**gopro, scale=0.5).files is None
  mixture = lambda **options: data.open_source(
      name='mixture', sources=dict(a=gopro, b=gopro | options))
  assert mixture().files(7)['sharp'].stem == '000049'
  assert mixture(scale=0.5).files is None


def test_reds(tmp_path):
  for inner in ('', 'val/'):
    root = tmp_path / f'root{len(inner)}'
    fill(root,
         blur=[f'{inner}val_blur_jpeg/003/0000000{i}.jpg' for i in (8, 9)],
         sharp=[f'{inner}val_sharp/003/0000000{i}.png' for i in (8, 9)])
    kwargs = dict(name='reds', root=root, split='val', track='blur_jpeg')
    check(data.open_source(**kwargs), ['003/00000008', '003/00000009'])
    check(data.open_source(**kwargs, val300=True), ['003/00000009'])


def test_realblur(tmp_path):
  base = 'RealBlur-J_ECC_IMCORR_centroid_itensity_ref/scene00'
  fill(tmp_path, blur=[f'{base}{i}/blur/blur_1.png' for i in (1, 2)],
       sharp=[f'{base}{i}/gt/gt_1.png' for i in (1, 2)])
  (tmp_path / 'RealBlur_J_test_list.txt').write_text(
      f'{base}2/gt/gt_1.png {base}2/blur/blur_1.png \n\n')
  check(data.open_source(name='realblur', root=tmp_path), ['scene002/blur_1'])
  fill(tmp_path, blur=['RealBlur_R/input/1.png'],
       sharp=['RealBlur_R/target/1.png'])
  check(data.open_source(name='realblur', root=tmp_path, camera='R'), ['1'])


def test_hide(tmp_path):
  fill(tmp_path,
       blur=['test/test-close-ups/1.png', 'test/test-long-shot/2.png'],
       sharp=['GT/1.png', 'GT/2.png', 'GT/of_train.png'])
  check(data.open_source(name='hide', root=tmp_path), ['1', '2'])


def test_kohler_takes_the_middle_frame(tmp_path):
  fill(tmp_path, blur=['BlurryImages/Blurry1_2.png'],
       sharp=['Image1/Kernel2/GroundTruth1_2_2.png'])
  for frame in (1, 10):
    pictures.save(tmp_path / f'Image1/Kernel2/GroundTruth1_2_{frame}.png',
                  pictures.smooth(frame)['sharp'])
  source = data.open_source(name='kohler', root=tmp_path)
  check(source, ['1_2'])
  np.testing.assert_array_equal(
      source.read(0)['sharp'], pictures.smooth(0)['sharp'])
  other = data.open_source(name='kohler', root=tmp_path, frame=10)
  assert (other.read(0)['sharp'] != source.read(0)['sharp']).any()


def test_photos_of_one_side(tmp_path):
  fill(tmp_path, sharp=['a/1.jpg', '2.png'])
  for name, key in (('photos', 'sharp'), ('blurred_photos', 'blur')):
    source = data.open_source(name=name, root=tmp_path)
    assert source.names == ['2', 'a/1']
    assert list(source.read(0)) == list(source.keys) == [key]


def test_real_gopro(real_data):
  source = data.open_source(
      name='gopro', root=real_data / 'gopro', subset='blur')
  check(source, [f'GOPR0372_07_00/{i:06d}' for i in range(47, 55)])


def overwrite(path):
  """Some bytes in the middle of a file become others."""
  content = path.read_bytes()
  path.write_bytes(content[:2000] + b'x' * 50 + content[2050:])


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda p: p.write_bytes(p.read_bytes()[:-500]), r'Cannot read .*47\.png'),
    (overwrite, r'Cannot read .*47\.png'),
    (lambda p: p.write_bytes(b''), r'47\.png is empty'),
    (lambda p: p.unlink(), r'No file .*47\.png'),
    (lambda p: Image.new('RGBA', (64, 48)).save(p), 'partly transparent'),
    (lambda p: Image.new('RGB', (64, 40)).save(p),
     r'differ in size: .*blur.*47\.png is 64x40, .*47\.png is 64x48'),
])
def test_read_names_the_broken_file(tmp_path, damage, message):
  source = data.open_source(
      name='gopro', root=pictures.gopro(tmp_path), subset='blur')
  damage(tmp_path / 'train/GOPR0372_07_00/blur/000047.png')
  with pytest.raises(errors.UserError, match=message):
    source.read(0)


def gopro_faults(root):
  """(keywords, message) of what may be wrong with a GoPro folder."""
  return [
      (dict(), 'needs data.subset: .blur. .linear'),
      (dict(subset='gamma'), "Unknown data.subset 'gamma'; known: blur"),
      (dict(subset='blur', splt='test'), 'Did you mean .split.'),
      (dict(subset='blur', split='val'), "No folder 'val' in .*test, train"),
      (dict(subset='blur_gamma'), "subset 'blur_gamma'; .* hold: blur, sharp"),
      (dict(subset='blur', layout='x'), 'Unknown data.layout'),
      (dict(subset='blur', root=root / 'no'), 'No folder .*no'),
  ]


@pytest.mark.parametrize('case', range(7))
def test_gopro_messages(tmp_path, case):
  pictures.gopro(tmp_path)
  kwargs, message = gopro_faults(tmp_path)[case]
  with pytest.raises(errors.UserError, match=message):
    data.open_source(name='gopro', **{'root': tmp_path, **kwargs})


def test_incomplete_pairs_are_refused_and_carried(tmp_path):
  pictures.gopro(tmp_path)
  (tmp_path / 'train/GOPR0372_07_00/sharp/000048.png').unlink()
  (tmp_path / 'train/GOPR0372_07_00/blur/000050.png').unlink()
  with pytest.raises(data.BadPairs, match=(
      r'2 problems: GOPR0372_07_00/000048: no sharp picture; .*000050: no blur '
      r'picture\. .*verify_data --source=gopro --root=.* --subset=blur$')
  ) as caught:
    data.open_source(name='gopro', root=tmp_path, subset='blur')
  assert len(caught.value.source.names) == 3
  assert [p.kind for p in caught.value.problems] == ['missing', 'missing']


def test_other_messages(tmp_path):
  with pytest.raises(errors.UserError, match='no pictures'):
    data.open_source(name='photos', root=tmp_path)
  with pytest.raises(errors.UserError, match='Did you mean .gopro.'):
    data.open_source(name='gpro', root=tmp_path)
  with pytest.raises(errors.UserError, match='no name has both'):
    fill(tmp_path, blur=['a/1.png'], sharp=['b/2.png'])
    data.open_source(name='folder_pairs', blur=tmp_path / 'a',
                     sharp=tmp_path / 'b')
  with pytest.raises(errors.UserError, match='1.jpg and .*1.png have one'):
    fill(tmp_path, blur=['c/1.png', 'c/1.jpg'])
    data.open_source(name='photos', root=tmp_path / 'c')
  with pytest.raises(errors.UserError, match='neither .*test_list.txt'):
    data.open_source(name='realblur', root=tmp_path)



@pytest.mark.parametrize('leaf, message', [
    (dict(name='gopro', root='gopro', split='train', subset='blur'),
     r'No folder gopro.*train\.root\.$'),
    (dict(name='folder_pairs', blur='', sharp='none'), 'No folder .*'),
    (dict(name='mixture', sources=dict(a=dict(
        name='gopro', root='none', split='train', subset='blur'))),
     r'No folder none: set --config\.data\.train\.sources\.a\.root\.$'),
])
def test_a_missing_folder_has_the_key_of_its_config(leaf, message, tmp_path,
                                                    monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.UserError, match=message) as error:
    data.open_side({'data': {'train': leaf}}, 'train')
  assert '.name.' not in str(error.value)
