"The benchmark runs, in its smallest form."
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent

def measured(parts, out):
    "Rows of the baseline, by what was measured and of whom."
    command = [sys.executable, ROOT/'benchmarks'/'speed.py', '--methods', 'baseline', '--parts', parts, '--turns', '2', '--out', out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(out).set_index(['what', 'contestant'])

def faster(rows):
    "Is aebench faster than plain fastai, by each one's best turn, in which other work took least?"
    return rows.high['speed', 'aebench'] > 1.1*rows.high['speed', 'plain fastai']

def test_speed(tmp_path):
    rows = measured('speed,share,floor', tmp_path/'speed.csv')
    assert set(rows.loc['speed'].index) == {'plain fastai', 'usual layers', 'bare loop', 'aebench'} and (rows.loc['speed'].low > 0).all()
    assert rows['median']['floor', 'counted floor'] > rows['median']['speed', 'aebench']
    shares = rows.loc['share'].set_index('detail')['median']
    assert (shares.drop('framework') > 0).all() and 0 <= shares['framework'] < 40 and abs(shares.sum() - 100) < 1e-6
    assert rows.device_name.nunique() == 1 and rows.threads.min() > 0
    assert faster(rows) or faster(measured('speed', tmp_path/'again.csv')) or faster(measured('speed', tmp_path/'at_last.csv'))  # it is, by far, unless other tests come between

def test_operations_of_own_convolutions_are_counted(monkeypatch):
    "A resnet34's, whose last layers are matrix products written in place: forward and backward."
    monkeypatch.syspath_prepend(ROOT/'benchmarks')
    from speed import Run, Task, aebench_learner, noise, operations
    count, n = operations(aebench_learner(Task(Run('resnet', 'noise', weights='random', device='cpu', precision='fp32'), noise(16, 32), None)))
    assert n == 16 and 290e6 < count/n < 320e6

def costs(part, home, tmp_path, *words) -> pd.DataFrame:
    "What benchmarks/cluster.py measures."
    done = subprocess.run([sys.executable, ROOT/'benchmarks'/'cluster.py', '--parts', part, *words, '--out', tmp_path/'cluster.csv'], env={**os.environ, 'AEBENCH_HOME': str(home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path/'cluster.csv').set_index('detail')
    assert (rows['median'] > 0).all() and (rows.load >= 0).all()
    return rows

def test_cost_of_gathering(home, tmp_path):
    rows = costs('gather', home, tmp_path, '--turns', '1', '--rows', '20')
    assert list(rows.index) == ['gather', 'report'] and (rows['count'] == 20).all()

@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason='needs two processors')
def test_two_runs_beside_each_other_take_no_longer(home, tmp_path):
    "By Ray, its start included, as one after the other; the quickest of three turns, for other tests may come between."
    pytest.importorskip('ray', reason='needs aebench[ray]')
    lowest = costs('runs', home, tmp_path, '--turns', '3').low
    assert lowest['beside each other'] <= lowest['one after the other'], lowest

def test_large_images(tmp_path):
    done = subprocess.run([sys.executable, ROOT/'benchmarks'/'large.py', '--sizes', '16', '32', '--methods', 'baseline', '--steps', '3', '--out', tmp_path/'large.csv'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path/'large.csv')
    assert list(rows['size']) == [16, 32] and (rows.peak_memory_mb > 100).all() and rows.images_per_second[0] > rows.images_per_second[1] > 0
