r"""GOPRO_Large in TFDS: `gopro_large/blur` and `gopro_large/blur_gamma`.

  python -m experiments.prepare_data --tfds --root=GOPRO_Large --subset=blur \
      --out=DATA_DIR

prepares it; other ways of TFDS work, too, with root as `manual_dir`. Stored as
array_record, it is written and read without TensorFlow, by the source `tfds`;
the PNG files are stored unchanged. Importing this file imports TFDS and
registers the builder; no other file does so. Then

  tfds.load('gopro_large/blur', data_dir=DATA_DIR, split='train')

is a tf.data.Dataset of dict(blur, sharp, name), uint8 [720, 1280, 3].
"""

import os

import numpy as np

from deblur_jax import data, errors
from deblur_jax.data import layouts

with errors.needs_extra('TensorFlow Datasets', extra='train'):
  import tensorflow_datasets as tfds

DESCRIPTION = """
Dynamic scenes filmed at 240 frames a second, 1280x720: each blurred picture is
the average of 7 to 13 frames, its sharp one the middle frame.
"""
CITATION = """
@inproceedings{nah2017deep,
  title={Deep Multi-scale Convolutional Neural Network for Dynamic Scene
         Deblurring},
  author={Nah, Seungjun and Kim, Tae Hyun and Lee, Kyoung Mu},
  booktitle={CVPR},
  year={2017}
}
"""


class GoproLarge(tfds.core.GeneratorBasedBuilder):
  """Pairs of the GoPro data set (Nah et al. 2017), official split."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First version.'}
  BUILDER_CONFIGS = [
      tfds.core.BuilderConfig(name=name, description=text)
      for name, text in layouts.SUBSETS.items()]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
      'Download GOPRO_Large.zip from '
      'https://seungjunnah.github.io/Datasets/gopro (CC BY 4.0), unpack it, '
      'and give the folder that holds train/ and test/ as manual_dir.')

  def _info(self) -> tfds.core.DatasetInfo:
    picture = tfds.features.Image(
        shape=(None, None, 3), dtype=np.uint8, encoding_format='png')
    return tfds.core.DatasetInfo(
        builder=self, description=DESCRIPTION, citation=CITATION,
        homepage='https://seungjunnah.github.io/Datasets/gopro',
        features=tfds.features.FeaturesDict({
            'blur': picture, 'sharp': picture, 'name': tfds.features.Text()}),
        supervised_keys=('blur', 'sharp'), disable_shuffling=True,
        metadata=tfds.core.MetadataDict())

  def _split_generators(self, dl_manager):
    splits = {
        split: _pairs(dl_manager.manual_dir, split, self.builder_config.name)
        for split in ('train', 'test')}
    # The source `tfds` reads the names here instead of from every record.
    self.info.metadata['names'] = {
        split: list(pairs) for split, pairs in splits.items()}
    return {split: self._generate_examples(pairs)
            for split, pairs in splits.items()}

  def _generate_examples(self, pairs):
    for name, paths in pairs.items():
      yield name, {**paths, 'name': name}

  def _as_dataset(
      self, split, decoders=None, read_config=None, shuffle_files=False):
    """Makes a tf.data.Dataset of array_record, too, which TFDS does not."""
    if self.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
      return super()._as_dataset(split, decoders, read_config, shuffle_files)
    import tensorflow as tf
    records = self.as_data_source(
        split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    read_config = read_config or tfds.ReadConfig()
    features = self.info.features
    if isinstance(decoders, tfds.decode.PartialDecoding):
      features = decoders.extract_features(features)
      decoders = decoders.decoders

    @tf.autograph.experimental.do_not_convert
    def read(number):
      record = tf.numpy_function(records.__getitem__, [number], tf.string)
      return features.deserialize_example(
          tf.ensure_shape(record, ()), decoders=decoders)

    numbers = tf.data.Dataset.range(len(records))
    if read_config.input_context:
      numbers = numbers.shard(read_config.input_context.num_input_pipelines,
                              read_config.input_context.input_pipeline_id)
    if shuffle_files:
      numbers = numbers.shuffle(
          len(records), seed=read_config.shuffle_seed,
          reshuffle_each_iteration=read_config.shuffle_reshuffle_each_iteration)
    return numbers.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def prepare(root: str, data_dir: str, *, subset: str) -> str:
  """Writes gopro_large/`subset` as a TFDS data set.

  Args:
    root: the folder that holds train/ and test/.
    data_dir: the folder of TFDS data sets.
    subset: 'blur' or 'blur_gamma'.

  Returns:
    The folder of the data set.

  Raises:
    UserError: train or test is missing, empty or incomplete.
  """
  for split in ('train', 'test'):  # otherwise TFDS wraps these errors
    data.open_source(name='gopro', root=root, split=split, subset=subset)
  builder = GoproLarge(
      config=subset, data_dir=data_dir, file_format='array_record')
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(
      manual_dir=root))
  return os.fspath(builder.data_path)


def _pairs(root, split, subset):
  """{name: {'blur': path, 'sharp': path}}, in order."""
  _, sides = layouts.gopro_files(root, split, subset)
  names = sorted(set(sides['blur']) | set(sides['sharp']))
  for name in names:
    for key, files in sides.items():
      if name not in files:
        raise errors.UserError(f'{root}: {split}/{name} has no {key} picture.')
  return {name: {key: os.fspath(files[name]) for key, files in sides.items()}
          for name in names}
