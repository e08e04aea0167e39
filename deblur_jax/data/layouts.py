"""Public data sets of pairs, in the folders of their own archives.

Each function says where its set is published. The layouts follow the pages of
the sets and the code that others publish for them.
"""

import os
import pathlib
import re

from deblur_jax import errors
from deblur_jax.data import images, sources

SUBSETS = {'blur': 'linear averages', 'blur_gamma': 'averages at gamma 2.2'}


def gopro(
    *, root: str, subset: str, split: str = 'train', layout: str | None = None,
) -> sources.Source:
  """GOPRO_Large (Nah et al. 2017): 2103 pairs to train, 1111 to test.

  https://seungjunnah.github.io/Datasets/gopro (CC BY 4.0), GOPRO_Large.zip.

  Args:
    root: the folder that holds train/ and test/, or the folder above it.
    subset: 'blur' (linear averages) or 'blur_gamma' (gamma 2.2). It changes
      every number, so there is no default. The layouts of other codes have one
      folder of blurred pictures; the option then says which subset it is.
    split: 'train' or 'test'.
    layout: a name in LAYOUTS; None finds it from the folders.

  Raises:
    UserError: no such subset, split, layout or folder, or no pictures.
    BadPairs: some pairs are incomplete.
  """
  folder, sides = gopro_files(root, split, subset, layout)
  where = f'GoPro {split} ({subset}) in {folder}'
  return sources.from_files(sides, where=where)._replace(subset=subset)


def gopro_files(
    root, split: str, subset: str, layout: str | None = None,
) -> tuple[pathlib.Path, sources.Sides]:
  """Finds the files of GoPro.

  Args:
    root: see `gopro`.
    split: see `gopro`.
    subset: see `gopro`.
    layout: see `gopro`.

  Returns:
    The folder of the split, and {'blur': {name: path}, 'sharp': {name: path}}.

  Raises:
    UserError: no such subset, split, layout or folder, or no blurred pictures.
  """
  errors.look_up(SUBSETS, subset, what='data.subset')
  folder = _split_folder(pathlib.Path(root), split)
  if layout is None:
    layout = _detect(folder, subset)
  sides = errors.look_up(LAYOUTS, layout, what='data.layout')(folder, subset)
  if not sides['blur']:
    have = ', '.join(sorted(p.name for p in folder.glob('*/*') if p.is_dir()))
    raise errors.UserError(
        f'GoPro in {folder} (layout {layout!r}): no pictures of the subset '
        f'{subset!r}' + (f'; its sequences hold: {have}.' if have else '.'))
  return folder, sides


def _split_folder(root: pathlib.Path, split: str) -> pathlib.Path:
  if not root.is_dir():
    raise errors.NoFolder(root)
  inner = [root, *sorted(
      p for p in root.iterdir() if p.name.lower().startswith('gopro'))]
  for folder in inner:
    if (folder / split).is_dir():
      return folder / split
  have = ', '.join(sorted(p.name for p in root.iterdir())[:6]) or 'nothing'
  raise errors.UserError(f'No folder {split!r} in {root}; it holds: {have}.')


def _detect(folder: pathlib.Path, subset: str) -> str:
  if (folder / 'input').is_dir():
    return 'mprnet'
  if (folder / 'blur_crops').is_dir():
    return 'crops'
  return 'mimo' if (folder / subset).is_dir() else 'official'


def _official(folder, subset):
  """Files SEQ/{subset,sharp}/000047.png, under the names 'SEQ/000047'."""
  sides = {'blur': {}, 'sharp': {}}
  wanted = {subset: 'blur', 'sharp': 'sharp'}
  for key, path in images.find(folder).items():
    sequence, _, rest = key.partition('/')
    side, _, stem = rest.partition('/')
    if side in wanted and stem:
      sides[wanted[side]][f'{sequence}/{stem}'] = path
  return sides


def _two_folders(blur, sharp):
  def files(folder, subset):
    return {'blur': images.find(folder / blur.format(subset=subset)),
            'sharp': images.find(folder / sharp)}
  return files


def reds(
    *, root: str, split: str = 'train', track: str = 'blur',
    val300: bool = False,
) -> sources.Source:
  """REDS (Nah et al. 2019): 240 sequences of 100 frames to train, 30 as val.

  https://seungjunnah.github.io/Datasets/reds (CC BY 4.0); unpack the zips to
  {split}/{split}_{sharp,blur,...}/SEQ/FRAME.png, with or without the first.

  Args:
    root: the folder that holds these folders.
    split: 'train' or 'val'; the sharp pictures of test are not public.
    track: 'blur', 'blur_jpeg' (NTIRE 2021, track 2) or 'blur_comp' (video).
    val300: only the frames whose number ends in 9, the usual validation set.

  Raises:
    UserError: no such track or folder, no pictures, or val300 without val.
    BadPairs: some pairs are incomplete.
  """
  errors.look_up(dict.fromkeys(('blur', 'blur_jpeg', 'blur_comp')), track,
                 what='data.track')
  if val300 and split != 'val':
    raise errors.UserError("data.val300 is for data.split='val' only.")
  base = pathlib.Path(root)
  base = base / split if (base / split).is_dir() else base
  sides = {'blur': images.find(base / f'{split}_{track}'),
           'sharp': images.find(base / f'{split}_sharp')}
  names = sorted(n for n in set().union(*sides.values())
                 if n.endswith('9') or not val300)
  return sources.from_files(
      sides, where=f'REDS {split} ({track}) in {base}', names=names)


def realblur(
    *, root: str, split: str = 'test', camera: str = 'J',
) -> sources.Source:
  """RealBlur (Rim et al. 2020): 3758 pairs to train, 980 to test, J and R.

  https://github.com/rimchang/RealBlur (CC BY 4.0), RealBlur.tar.gz. The split
  comes from its RealBlur_{J,R}_{train,test}_list.txt, each line 'SHARP BLUR'
  relative to root; without these, from RealBlur_{J,R}/{input,target}.

  Args:
    root: the unpacked folder.
    split: 'train' or 'test'.
    camera: 'J' (the camera's JPEG) or 'R' (developed from raw).

  Raises:
    UserError: no such camera, no list and no folders, or a damaged list.
    BadPairs: some pairs are incomplete.
  """
  errors.look_up({'J': 'camera JPEG', 'R': 'from raw'}, camera,
                 what='data.camera')
  base = pathlib.Path(root)
  where = f'RealBlur-{camera} {split} in {root}'
  lines = base / f'RealBlur_{camera}_{split}_list.txt'
  if lines.is_file():
    names, sides = _realblur_list(lines)
    return sources.from_files(sides, where=where, names=names)
  for folder in (base / split, base):
    folder /= f'RealBlur_{camera}'
    if (folder / 'input').is_dir():
      return sources.from_files(_input_target(folder, None), where=where)
  raise errors.UserError(f'{where}: neither {lines.name} nor RealBlur_{camera}'
                         '/input is there.')


def _realblur_list(path):
  """The names 'scene001/blur_1' and the existing files of a list."""
  names, sides = [], {'blur': {}, 'sharp': {}}
  lines = path.read_text(encoding='utf-8').splitlines()
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    if len(line.split()) != 2:
      raise errors.UserError(f'{path}, line {number}: not two paths: {line!r}.')
    sharp, blur = (path.parent / word for word in line.split())
    names.append(f'{blur.parent.parent.name}/{blur.stem}')
    for key, file in (('blur', blur), ('sharp', sharp)):
      if file.is_file():
        sides[key][names[-1]] = file
  return names, sides


def hide(*, root: str, split: str = 'test') -> sources.Source:
  """HIDE (Shen et al. 2019): 6397 pairs to train, 2025 to test.

  https://github.com/joanshen0508/HA_deblur, HIDE_dataset.zip: train/,
  test/test-close-ups/, test/test-long-shot/, and GT/ with all sharp pictures;
  or {input,target}/, as others repack the test pictures.

  Args:
    root: the unpacked folder.
    split: 'train' or 'test'.

  Raises:
    UserError: a folder is missing or empty.
    BadPairs: some pairs are incomplete.
  """
  base = pathlib.Path(root)
  where = f'HIDE {split} in {root}'
  if (base / 'input').is_dir():
    return sources.from_files(_input_target(base, None), where=where)
  sides = {'blur': _by_stem(base / split), 'sharp': _by_stem(base / 'GT')}
  return sources.from_files(sides, where=where, names=sorted(sides['blur']))


def _by_stem(folder):
  files = {}
  for key, path in images.find(folder).items():
    name = key.rpartition('/')[-1]
    if name in files:
      raise errors.UserError(f'{files[name]} and {path} have one name.')
    files[name] = path
  return files


def kohler(*, root: str, frame: str | int = 'middle') -> sources.Source:
  """The camera shake benchmark of Koehler et al. 2012: 48 pictures.

  BlurryImages.zip and GroundTruth_pngs_Image{1..4}.zip of its page, unpacked
  to Blurry{i}_{k}.png and Image{i}/Kernel{k}/GroundTruth{i}_{k}_{frame}.png.

  Each picture is paired with one sharp frame. The benchmark's own numbers are
  the best over all frames after an alignment; `experiments.evaluate_folder
  --kohler` computes them.

  Args:
    root: the folder with all of these files.
    frame: number of the sharp frame, or 'middle'.

  Raises:
    UserError: no pictures, or no folder.
    BadPairs: a picture has no such frame.
  """
  base = pathlib.Path(root)
  sides = {'blur': {}, 'sharp': {}}
  for path in images.find(base).values():
    if match := re.fullmatch(r'Blurry(\d+_\d+)', path.stem):
      sides['blur'][match[1]] = path
  for name in sides['blur']:
    frames = kohler_frames(base, *name.split('_'))
    wanted = sorted(frames)[(len(frames) - 1) // 2:][:1]
    wanted = wanted if frame == 'middle' else [int(frame)]
    if frames and wanted[0] in frames:
      sides['sharp'][name] = frames[wanted[0]]
  return sources.from_files(
      sides, where=f'Koehler ({frame} frame) in {root}',
      names=sorted(sides['blur'], key=lambda n: [int(x) for x in n.split('_')]))


def kohler_frames(
    root: str | os.PathLike, image: str, kernel: str
) -> dict[int, pathlib.Path]:
  """Finds the sharp frames of one of Koehler's pictures.

  Args:
    root: see `kohler`.
    image: number of the picture, '1' to '4'.
    kernel: number of the camera shake, '1' to '12'.

  Returns:
    {number of the frame: path}, empty where there are none.
  """
  base = pathlib.Path(root)
  pattern = f'Image{image}/Kernel{kernel}/GroundTruth{image}_{kernel}_*.png'
  frames = {int(p.stem.rpartition('_')[-1]): p for p in base.glob(pattern)}
  if (image, kernel) == ('1', '3'):    # the benchmark's own script skips it
    frames.pop(30, None)
  return frames


def guess(root) -> list[dict]:
  """Guesses the keywords of `open_source` from the content of a folder.

  It knows prepared sets, GoPro in all layouts (each split and subset), and
  folders of pairs with usual names, and pairs 1_blur, 1_sharp in one folder;
  any other folder is taken as photos.

  Args:
    root: the folder.

  Returns:
    A list of keywords, one entry for each set that is found.
  """
  base = pathlib.Path(root)
  if (base / 'index.json').is_file():
    return [dict(name='prepared', root=str(root))]
  gopros = [dict(name='gopro', root=str(root), split=split, subset=subset)
            for split in ('train', 'test') for subset in SUBSETS
            if _holds_gopro(base, split, subset)]
  if gopros:
    return gopros
  for blur, sharp in (('blur', 'sharp'), ('blur_gamma', 'sharp'),
                      ('input', 'target'), ('blur', 'gt')):
    if (base / blur).is_dir() and (base / sharp).is_dir():
      return [dict(name='folder_pairs', blur=str(base / blur),
                   sharp=str(base / sharp))]
  for blur, sharp in (('{}_blur', '{}_sharp'), ('{}_blurred', '{}_sharp')):
    names = [key for key in images.find(root)
             if key.endswith((blur[2:], sharp[2:]))]
    if names and len(names) == len(images.find(root)):
      return [dict(name='pairs_by_name', root=str(root), blur=blur,
                   sharp=sharp)]
  return [dict(name='photos', root=str(root))]


def _holds_gopro(root, split, subset):
  try:
    gopro_files(root, split, subset)
  except errors.UserError:
    return False
  return True


_input_target = _two_folders('input', 'target')

LAYOUTS = {
    'official': _official,
    'mprnet': _input_target,
    'mimo': _two_folders('{subset}', 'sharp'),
    'crops': _two_folders('blur_crops', 'sharp_crops'),
}
