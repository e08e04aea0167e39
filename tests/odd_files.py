"""A folder with one of each odd file that people have, and what becomes of it.

The outcome of a file is `made` (a result, and nothing to say), `told` (a result
and a line), `refused` (a line) or `passed` (counted with others).
"""

import io
import os

import numpy as np
import odd_pictures
import tifffile
from films import film, with_more
from PIL import Image, ImageCms

HEIGHT, WIDTH = 24, 32
_RNG = np.random.default_rng(0)
_SMALL = _RNG.integers(0, 256, (4, 5, 4), np.uint8)
RGBA = np.asarray(Image.fromarray(_SMALL).resize(
    (WIDTH, HEIGHT), Image.Resampling.BICUBIC))
RGB, GRAY = RGBA[..., :3], RGBA[..., 0]
DEEP = RGBA.astype(np.uint16) * 257
BOMB = odd_pictures.png((60000, 60000, 8, 2, 0))
XMP = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description %s/>'
       b'</x:xmpmeta>')


def saved(form, pixels=RGB, mode=None, **options):
  """A picture in a form of Pillow."""
  file, image = io.BytesIO(), Image.fromarray(pixels)
  image = image.convert(mode) if mode else image
  image.save(file, form, **options)
  return file.getvalue()


def tiff(pixels, **options):
  file = io.BytesIO()
  tifffile.imwrite(file, pixels, **options)
  return file.getvalue()


def moving(form, frames=3, **options):
  others = [Image.fromarray(np.roll(RGB, i, axis=1))
            for i in range(1, frames)]
  return saved(form, save_all=True, append_images=others, duration=40,
               **options)


def _pictures():
  """{name: (outcome, bytes)}."""
  jpeg, png = saved('JPEG'), saved('PNG')
  srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
  chunk = lambda data, name, content: (     # behind IHDR, which ends at 33
      data[:33] + odd_pictures.chunk(name, content) + data[33:])
  return {
      'plain.jpg': ('made', jpeg),
      'gray.jpg': ('made', saved('JPEG', GRAY)),
      'progressive.jpeg': ('made', saved('JPEG', progressive=True)),
      'press.jpg': ('told', saved('JPEG', mode='CMYK')),
      'turned.jpg': ('made', saved('JPEG', exif=odd_pictures.exif())),
      'broken_exif.jpg': ('told', saved('JPEG', exif=b'Exif\0\0II*\0nothing')),
      'motion.jpg': ('told', saved(
          'JPEG', xmp=XMP % b'GCamera:MotionPhoto="1"') + b'film'),
      'stereo.mpo': ('told', moving('MPO')),
      'two_pictures.jpg': ('told', moving('MPO')),
      'old.jfif': ('made', jpeg),
      'old.jpe': ('made', jpeg),
      'old.dib': ('made', saved('BMP')),
      'without_suffix': ('made', jpeg),
      'jpeg_by_another_name.png': ('told', jpeg),
      'png_by_another_name.jpg': ('told', png),
      'UPPER.JPG': ('made', jpeg),
      'profile.png': ('made', saved('PNG', icc_profile=srgb)),
      'gray.png': ('made', saved('PNG', GRAY)),
      'palette.png': ('told', saved('PNG', mode='P')),
      'one_bit.png': ('told', saved('PNG', mode='1')),
      'gray_and_alpha.png': ('made', saved('PNG', RGBA, 'LA')),
      'alpha.png': ('made', saved('PNG', RGBA)),
      'deep_gray.png': ('made', odd_pictures.png16(DEEP[..., :1])),
      'deep.png': ('made', odd_pictures.png16(DEEP[..., :3])),
      'deep_alpha.png': ('made', odd_pictures.png16(DEEP)),
      'deep_interlaced.png': ('made', odd_pictures.png16(
          DEEP[..., :3], interlaced=True)),
      'gamma.png': ('told', chunk(
          png, b'gAMA', (100_000).to_bytes(4))),
      'hdr_by_codes.png': ('told', chunk(png, b'cICP', bytes([9, 16, 0, 1]))),
      'moving.png': ('told', moving('PNG')),
      'sticker.apng': ('told', moving('PNG')),
      'single_pixel.png': ('made', saved('PNG', RGB[:1, :1])),
      'plain.tif': ('made', saved('TIFF', compression='tiff_lzw')),
      'pages.tif': ('told', moving('TIFF')),
      'deep.tiff': ('made', tiff(DEEP[..., :3], photometric='rgb')),
      'bilevel.tif': ('told', saved('TIFF', mode='1', compression='group4')),
      'press.tif': ('told', saved('TIFF', mode='CMYK')),
      'big.tif': ('made', tiff(RGB, photometric='rgb', bigtiff=True)),
      'two_channels.tif': ('made', tiff(
          RGBA[..., 2:], photometric='minisblack',
          extrasamples=['unassalpha'])),
      'floats.tif': ('refused', tiff(RGB / np.float32(255), photometric='rgb')),
      'signed.tif': ('refused', tiff(GRAY.astype(np.int16))),
      'lab.tif': ('refused', saved('TIFF', mode='LAB')),
      'planes.tif': ('refused', tiff(
          np.moveaxis(DEEP[..., :3], -1, 0), photometric='rgb',
          planarconfig='separate')),
      'plain.bmp': ('made', saved('BMP')),
      'palette.bmp': ('told', saved('BMP', mode='P')),
      'still.gif': ('told', saved('GIF', mode='P')),
      'moving.gif': ('told', moving('GIF')),
      'plain.webp': ('made', saved('WEBP')),
      'lossless.webp': ('made', saved('WEBP', lossless=True)),
      'moving.webp': ('told', moving('WEBP')),
      'plain.avif': ('made', saved('AVIF')),
      'moving.avif': ('told', moving('AVIF')),
      'plain.jp2': ('made', saved('JPEG2000')),
      'stream.j2k': ('made', saved('JPEG2000', no_jp2=True)),
      'any.ppm': ('made', saved('PPM')),
      'gray16.pgm': ('made', b'P5 32 24 65535\n' + DEEP[..., 0].astype(
          '>u2').tobytes()),
      'bits.pbm': ('told', saved('PPM', mode='1')),
      'film.tga': ('made', saved('TGA')),
      'camera.dng': ('told', odd_pictures.dng(DEEP[..., 0])),
      'light.exr': ('refused', b'v/1\1' + bytes(60)),
      'light.hdr': ('refused', b'#?RADIANCE\n' + bytes(60)),
      'layers.psd': ('refused', b'8BPS\0\1' + bytes(60)),
      'drawing.svg': ('refused', b'<svg/>'),
      'empty.jpg': ('refused', b''),
      'text.png': ('refused', b'no picture'),
      'cut.jpg': ('refused', jpeg[:len(jpeg) // 2]),
      'cut.png': ('refused', png[:len(png) // 2]),
      'cut.tif': ('refused', saved('TIFF')[:900]),
      'cut.webp': ('refused', saved('WEBP')[:60]),
      'noise.tga': ('refused', _RNG.bytes(300)),
      'noise.dng': ('refused', b'II*\0' + _RNG.bytes(300)),
      'bomb.png': ('refused', BOMB),
      f'{"long" * 60}.png': ('told', png),
      'line\nbreak.png': ('made', png),
      'sea \N{WATER WAVE} 日本.png': ('made', png),
      '-rf.png': ('made', png),
      '%d $(x) `y`.png': ('made', png),
      os.fsdecode(b'latin\xe9.png'): ('made', png),
      'same.gif': ('told', saved('GIF')),
      'same.png': ('made', png),
      'notes.txt': ('passed', b'words'),
      'side.xmp': ('passed', XMP % b''),
      'Thumbs.db': ('passed', bytes(8)),
      'paper.pdf': ('passed', b'%PDF-1.7'),
      'sub/in a folder.png': ('made', png),
      'folder.jpg/inside.png': ('made', png),
  }


def _of_extras(extra):
  """{name: (outcome, bytes)} of forms whose library may be missing."""
  if extra == 'heif':
    import pillow_heif

    pillow_heif.register_heif_opener()
    return {'phone.heic': ('made', saved('HEIF')),
            'phone.png': ('made', saved('PNG')),   # the same name
            'cut.heic': ('refused', saved('HEIF')[:200])}
  import pillow_jxl  # noqa: F401
  return {'new.jxl': ('made', saved('JXL', lossless=True)),
          'cut.jxl': ('refused', saved('JXL', lossless=True)[:40])}


def _films(folder):
  """Makes films; returns {name: outcome}."""
  kinds = {
      'plain.mp4': 'made', 'plain.mkv': 'made', 'plain.mov': 'made',
      'old.avi': 'told', 'stream.ts': 'made', 'flash.flv': 'made'}
  times = range(0, 4 * 512, 512)
  for name in kinds:
    codec = 'mpeg4' if name == 'old.avi' else 'libx264'
    film(folder / name, times, codec=codec)
  film(folder / 'alpha.webm', times, codec='libvpx-vp9', pixels='yuva420p')
  film(folder / 'sound.mp4', times, sound='aac')
  with_more(folder / 'plain.mp4', folder / 'data.mp4', cover=saved('JPEG'),
            data=('bin_data', {0: b'place'}))
  whole = (folder / 'sound.mp4').read_bytes()
  (folder / 'cut.mp4').write_bytes(whole[:len(whole) // 3])
  (folder / 'text.mp4').write_text('no film')
  (folder / 'empty.mov').write_bytes(b'')
  return kinds | {
      'alpha.webm': 'told', 'sound.mp4': 'made', 'data.mp4': 'made',
      'cut.mp4': 'refused', 'text.mp4': 'refused', 'empty.mov': 'refused'}


def make(folder, *, extras=()):
  """Makes the files.

  Args:
    folder: a path.
    extras: 'heif', 'jxl' and 'video', where they are installed.

  Returns:
    {name: outcome}, with '/' between folders.
  """
  files = _pictures()
  for extra in {'heif', 'jxl'} & set(extras):
    files |= _of_extras(extra)
  for name, (_, content) in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
  outcomes = {name: outcome for name, (outcome, _) in files.items()}
  if hasattr(os, 'mkfifo'):
    os.mkfifo(folder / 'pipe.jpg')
    (folder / 'nowhere.jpg').symlink_to('missing.jpg')
    (folder / 'round').symlink_to(folder)
    (folder / 'link.png').symlink_to('plain.jpg')
    outcomes |= {'pipe.jpg': 'refused', 'nowhere.jpg': 'refused',
                 'link.png': 'told'}
  if 'video' in extras:
    outcomes |= _films(folder)
  return outcomes
