"""Harnesses: what people bring, damaged at random, through the real readers.

  python -m tests.harness configs --count=500
  python -m tests.harness checkpoints --count=200 --seed=1

A harness yields cases. A case is held if it succeeds or raises a UserError of
one line, within its time and memory. tests/test_harness.py runs a few cases of
each but `kills` and `writers`.
"""

NAMES = ('configs', 'checkpoints', 'weights', 'pictures', 'videos', 'kills',
         'writers', 'full_disk')
