r"""Times a config: warm training steps and restoration, as one line of JSON.

  python -m experiments.benchmark --config=configs/multiscale_gopro.py
  python -m experiments.benchmark --config=configs/multiscale_gopro.py \
      --what=restore --size=720x1280 --repeats=30

The step is the one that trains: augmentation, forward, backward, optimiser. It
gets one batch of the built-in pictures again and again, or of the config's own
with --real_data: its time does not depend on them, and reading is not in it.

A config of a prior is timed too: an iteration of its fit to --images pictures
of --size, without reading and writing.

With --peer=DIR, a checkout of github.com/SeungjunNah/DeepDeblur-PyTorch or, for
configs/deblurgan_gopro.py, of github.com/KupynOrest/DeblurGAN at 39e8a4b, for
configs/prior_denoise.py of github.com/DmitryUlyanov/deep-image-prior, and
--peer_python=PATH, a Python that has torch, the same shapes are also timed for
the official code on the same CPU threads, all taking turns; `peer_ratio` is our
time over theirs (theirs without augmentation and pyramids). In bfloat16 theirs
restores under autocast. --onnx does the same with our own network as a file in
ONNX Runtime, in float32.
"""

import json

from absl import flags
from ml_collections import config_flags

from configs import common as config_common
from experiments import common

_CONFIG = config_flags.DEFINE_config_file('config', lock_config=True)
_WHAT = flags.DEFINE_list('what', ['train', 'restore'], 'train, restore.')
_SIZE = flags.DEFINE_string('size', '720x1280', 'Of the restored image, HxW.')
_IMAGES = flags.DEFINE_integer(
    'images', 1, 'That a prior is fitted to.', lower_bound=1)
_IN_TURN = flags.DEFINE_bool(
    'in_turn', None, 'One of them after another; by default on CPUs.')
_REPEATS = flags.DEFINE_integer(
    'repeats', 10, 'Timed runs, after two others.', lower_bound=1)
_REAL = flags.DEFINE_bool('real_data', False, "The config's own data set.")
_PEER = flags.DEFINE_string('peer', None, 'Checkout of the PyTorch code.')
_PYTHON = flags.DEFINE_string('peer_python', 'python', 'A Python with torch.')
_CHANNELS_LAST = flags.DEFINE_bool(
    'peer_channels_last', False, 'NHWC for the PyTorch network.')
_ONNX = flags.DEFINE_bool('onnx', False, 'Restore in ONNX Runtime as well.')
flags.mark_flag_as_required('config')


def main(argv):
  del argv
  from experiments import peers, timing

  size = timing.parse_size(_SIZE.value)
  config = _CONFIG.value
  fit = 'chunk' in config
  if not _REAL.value and not fit:
    with config.unlocked():
      config_common.use_builtin(config)
  config = config.to_dict()
  peer = None
  if _PEER.value:
    peer = peers.start(
        config, size, _PEER.value, _PYTHON.value,
        what=('train',) if fit else _WHAT.value,
        channels_last=_CHANNELS_LAST.value)
  if fit:
    result = timing.measure_fit(
        config, size, images=_IMAGES.value, in_turn=_IN_TURN.value,
        repeats=_REPEATS.value, peer=peer)
  else:
    result = timing.measure(
        config, _WHAT.value, size, repeats=_REPEATS.value, peer=peer,
        onnx=_ONNX.value)
  print(json.dumps(result))


if __name__ == '__main__':
  common.run(main)
