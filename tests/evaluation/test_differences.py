"""Intervals and tests of differences between settings."""

import itertools
import math
import random

import numpy as np
import pytest
import run_folders

from deblur_jax.evaluation.report import differences, runs


def _names(count, folders=1):
  return [f'{n % folders}/{n}' if folders > 1 else str(n)
          for n in range(count)]


def _values(count, *, mean=0.1, folders=1):
  """Differences whose folders have offsets of their own."""
  generator = np.random.default_rng(count)
  offsets = generator.normal(0, 0.3, folders)
  return {name: float(mean + offsets[n % folders] + generator.normal(0, 0.4))
          for n, name in enumerate(_names(count, folders))}


def _bootstrap(values, *, draws=4000):
  """An interval by the definition: whole folders, then all their pictures."""
  chance = random.Random(3)
  folders = {}
  for name, value in values.items():
    key = name.split('/')[0] if '/' in name else name
    folders.setdefault(key, []).append(value)
  units = list(folders.values())
  means = []
  for _ in range(draws):
    drawn = list(itertools.chain(*chance.choices(units, k=len(units))))
    means.append(sum(drawn) / len(drawn))
  means.sort()
  return means[int(0.025 * draws)], means[int(0.975 * draws)]


@pytest.mark.parametrize(('count', 'folders'), [(40, 1), (60, 7)])
def test_intervals_agree_with_an_independent_bootstrap(count, folders):
  values = _values(count, folders=folders)
  found = differences.paired_test(values)
  low, high = _bootstrap(values)
  width = high - low
  assert found.low == pytest.approx(low, abs=0.05 * width)
  assert found.high == pytest.approx(high, abs=0.05 * width)
  assert found.mean == pytest.approx(sum(values.values()) / count)
  assert (found.units, found.pictures) == (
      (count, count) if folders == 1 else (folders, count))


def test_folders_make_intervals_wider():
  values = _values(200, folders=8)
  alone = {name.replace('/', '_'): value for name, value in values.items()}
  wide, narrow = map(differences.paired_test, (values, alone))
  assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.parametrize(('higher', 'lower', 'ties'), [
    (9, 1, 0), (5, 5, 3), (0, 8, 1), (1, 0, 0)])
def test_the_sign_test_counts_binomial_tails_without_ties(higher, lower, ties):
  signs = [1.0] * higher + [-0.5] * lower + [0.0] * ties
  found = differences.paired_test(dict(zip(_names(len(signs)), signs,
                                           strict=True)))
  total = higher + lower
  tail = sum(math.comb(total, k) for k in range(min(higher, lower) + 1))
  assert found.p == pytest.approx(min(1, 2 * tail / 2 ** total))
  assert (found.higher, found.lower) == (higher, lower)


def test_equal_runs_have_no_difference():
  found = differences.paired_test(dict.fromkeys(_names(12), 0.0))
  assert found[:4] == (0, 0, 0, 1)


def test_the_draws_are_the_same_each_time_and_signs_mirror():
  values = _values(30)
  found = differences.paired_test(values)
  assert found == differences.paired_test(values)
  mirrored = differences.paired_test(
      {name: -value for name, value in values.items()})
  assert mirrored.low == pytest.approx(-found.high, abs=0.02)
  assert (mirrored.mean, mirrored.p) == (-found.mean, found.p)


@pytest.mark.parametrize('values', [
    {'a': 1.0}, {'a': math.inf, 'b': 1.0}, {'a': math.nan, 'b': 1.0}])
def test_too_few_or_infinite_differences_have_no_interval(values):
  assert differences.paired_test(values).low is None


@pytest.mark.parametrize(('seeds', 'words'), [
    ((0.05, 0.25), ', between seeds +0.05 to +0.25).'),
    ((-0.05, 0.35), ', between seeds −0.05 to +0.35), but the order of single '
     'seeds varies.')])
def test_sentences_know_the_seeds(seeds, words):
  found = differences.PairedTest(0.15, 0.02, 0.28, 0.031, 8, 3, 11, 11)
  assert differences.sentence(differences.Difference(
      'K=2', 'K=3', 'psnr_uint8', found, seeds)).endswith(f'p = 0.031{words}')


@pytest.mark.parametrize(('mean', 'low', 'high', 'p', 'metric', 'words'), [
    (0.15, 0.02, 0.28, 0.031, 'psnr_uint8',
     'K=2 is 0.15 dB better than K=3 in psnr_uint8 (95 % interval +0.02 to '
     '+0.28, p = 0.031, one seed each).'),
    (-0.15, -0.28, -0.02, 1e-9, 'psnr_uint8',
     'K=3 is 0.15 dB better than K=2 in psnr_uint8 (95 % interval +0.02 to '
     '+0.28, p < 0.0001, one seed each).'),
    (0.01, 0.005, 0.02, 0.01, 'lpips_alex',
     'K=3 is 0.0100 better than K=2 in lpips_alex (95 % interval +0.0050 to '
     '+0.0200, p = 0.01, one seed each).'),
    (-0.03, -0.08, 0.02, 0.4, 'psnr_uint8',
     'No difference between K=2 and K=3 can be shown in psnr_uint8 (mean −0.03'
     ', 95 % interval −0.08 to +0.02, p = 0.4, one seed each).'),
    (-1e-9, 0.0, 0.0, 1.0, 'psnr_uint8',
     'No difference between K=2 and K=3 can be shown in psnr_uint8 (mean +0.00'
     ', 95 % interval +0.00 to +0.00, p = 1, one seed each).'),
    (0.002, 0.001, 0.003, 1e-9, 'psnr_uint8',
     'No difference between K=2 and K=3 can be shown in psnr_uint8 (mean +0.00'
     ', 95 % interval +0.00 to +0.00, p < 0.0001, one seed each).'),
    (0.35, 0.3, 0.4, 0.5, 'psnr_uint8',
     'K=2 is 0.35 dB better than K=3 in psnr_uint8 on average (95 % interval '
     '+0.30 to +0.40, p = 0.5, one seed each), but the sign test over 11 '
     'folders of pictures does not confirm it.'),
    (0.3, None, None, 1.0, 'psnr_uint8',
     'K=2 and K=3 differ by 0.30 dB in psnr_uint8, without an interval: it '
     'needs two pictures, and finite values.')])
def test_sentences_claim_what_is_shown(mean, low, high, p, metric, words):
  signs = (8, 3) if mean > 0 else (3, 8)
  found = differences.PairedTest(mean, low, high, p, *signs, 11, 1111)
  assert differences.sentence(differences.Difference(
      'K=2', 'K=3', metric, found, None)) == words


def test_signs_that_point_the_other_way_are_told():
  """The mean is that of a few large folders, which most folders contradict."""
  values = {f'{folder}/{n}': 3.0 for folder in range(4) for n in range(200)}
  values |= {f'{folder}/0': -0.1 for folder in range(4, 24)}
  found = differences.paired_test(values)
  assert found.low > 0 and found.p < 0.01
  assert 'sign test over 24 folders of pictures does not confirm' in (
      differences.sentence(differences.Difference(
          'K=2', 'K=3', 'psnr_uint8', found, None)))


def test_frames_of_one_video_make_no_claim():
  found = differences.paired_test({
      f'video/{n}': 0.5 + 0.01 * (n % 3) for n in range(100)})
  assert 'all pictures are of one folder' in differences.sentence(
      differences.Difference('K=2', 'K=3', 'psnr_uint8', found, None))


def _run(folder, label, seed, psnrs):
  rows = [{'name': f's/{n}', 'psnr_uint8': value}
          for n, value in enumerate(psnrs)]
  config = run_folders.config(scales=label, seed=seed)
  return runs.Run(folder, config=config, eval={
      'step': config['total_steps'], 'test': {}, 'rows': rows,
      'mean': {'psnr_uint8': sum(psnrs) / len(psnrs)}})


def _study(folder, found):
  return runs.Study('x', folder, ['nets.net.scales'], found, {})


def test_seeds_are_averaged_picture_by_picture(tmp_path):
  study = _study(tmp_path, [
      _run(tmp_path, 1, 0, [20, 30, 40]), _run(tmp_path, 1, 1, [22, 30, 44]),
      _run(tmp_path, 2, 0, [20, 29, 40])])
  found, = differences.compare(study)
  assert (found.first, found.second) == ('scales=1', 'scales=2')
  assert found.test.mean == pytest.approx((1 + 1 + 2) / 3)
  assert found.seeds == pytest.approx((1 / 3, 7 / 3))
  text = ' '.join(differences.notes(study, [found]))
  assert 'not for other seeds' in text and 'Of only 3 pictures' in text
  assert 'All pictures are of one folder' in text


@pytest.mark.parametrize(('settings', 'pairs'), [(2, 1), (4, 6)])
def test_all_pairs_of_few_settings_are_compared(tmp_path, settings, pairs):
  study = _study(tmp_path, [
      _run(tmp_path, label, 0, [20 + label, 30]) for label in range(settings)])
  assert len(differences.compare(study)) == pairs


def test_many_settings_are_compared_with_the_best(tmp_path):
  study = _study(tmp_path, [_run(tmp_path, label, 0, [psnr, 30])
                            for label, psnr in enumerate((20, 21, 25, 22, 23))])
  assert [(one.first, one.second) for one in differences.compare(study)] == [
      ('scales=2', f'scales={other}') for other in (0, 1, 3, 4)]


def test_other_pictures_are_not_compared(tmp_path):
  first, second = (_run(tmp_path, label, 0, [20, 30]) for label in (1, 2))
  second.eval['rows'][0]['name'] = 's/9'
  study = _study(tmp_path, [first, second])
  assert differences.compare(study) == []
  assert not differences.same_pictures(differences.finished(study))
