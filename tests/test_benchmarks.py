"The benchmark runs, in its smallest form."
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent

def test_speed(tmp_path):
    command = [sys.executable, ROOT/'benchmarks'/'speed.py', '--methods', 'baseline', '--parts', 'speed,share,floor', '--turns', '1', '--out', tmp_path/'speed.csv']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path/'speed.csv').set_index(['what', 'contestant'])
    assert set(rows.loc['speed'].index) == {'plain fastai', 'usual layers', 'bare loop', 'aebench'} and (rows.loc['speed'].low > 0).all()
    assert rows['median'].loc['floor', 'counted floor'] > rows['median'].loc['speed', 'aebench']
    shares = rows.loc['share'].set_index('detail')['median']
    assert (shares.drop('framework') > 0).all() and 0 <= shares['framework'] < 40 and 60 < shares.drop('framework').sum() < 130  # timed once, beside other tests
    assert rows.device_name.nunique() == 1 and rows.threads.min() > 0

@pytest.mark.slow
def test_cluster(home, tmp_path):
    command = [sys.executable, ROOT/'benchmarks'/'cluster.py', '--parts', 'gather', '--turns', '1', '--rows', '20', '--out', tmp_path/'cluster.csv']
    done = subprocess.run(command, env={**os.environ, 'AEBENCH_HOME': str(home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path/'cluster.csv').set_index('detail')
    assert list(rows.index) == ['gather', 'report'] and (rows['count'] == 20).all() and (rows['median'] > 0).all() and (rows.load >= 0).all()
