"What somebody sees who watches: in a real terminal, and in a real notebook, whose training is interrupted."
import os
import pty
import subprocess
import sys
import time

import pytest
from jupyter_client.manager import start_new_kernel

from test_cli import QUICK

SETUP = '''
from fastai.callback.core import Callback
from aebench.callback.checkpoint import Checkpoint
from aebench.data import load_images
from aebench.models import autoencoder
from aebench.training import autoencoder_learner
class Tell(Callback):
    def after_batch(self):
        if self.training and self.iter == 2: print('begun', flush=True)
learn = autoencoder_learner(load_images('digits').dls(bs=128, device='cpu', valid_limit=64), autoencoder(size=16, latent=8, channels=1), cbs=[Tell()])
'''
AFTERWARDS = '''
import matplotlib.pyplot as plt
from aebench.callback.progress import default_progress
learn.fit_one_cycle(1, 1e-3)
learn.show_results()
from aebench.bench.loop import do_runs
from aebench.settings import plan_runs
do_runs(plan_runs('baseline', 'digits', size=16, epochs=(1, 1), batch_size=512, weights='random'), FOLDER)
bar = default_progress()
bar.begin(2), bar.within('Baseline', 1, 2, 1., 1.), bar.log('told'), bar.end()
print(type(bar).__name__, len(learn.get_preds()[0]), [o.get_title() for o in plt.gcf().axes][:2])
'''

@pytest.mark.parametrize('kept', [False, True])
def test_an_interrupt_in_a_notebook(kept, home, tmp_path):
    "The learner serves on, its state kept or not; results show what went in and what came out."
    kernel, client = start_new_kernel(startup_timeout=300, env={**os.environ, 'AEBENCH_HOME': str(home)})
    try:
        asked = client.execute(f"{SETUP}learn.fit_phases((500, 1), next_lr=1e-3{', checkpoint=Checkpoint(%r)' % str(tmp_path/'state.safetensors') if kept else ''})", stop_on_error=False)  # else what is asked at once after the interrupt may be dropped
        while 'begun' not in client.get_iopub_msg(timeout=300)['content'].get('text', ''): pass
        kernel.interrupt_kernel()
        began = time.monotonic()
        while (answer := client.get_shell_msg(timeout=300))['parent_header']['msg_id'] != asked: pass
        assert answer['content'].get('ename') == ('Interrupted' if kept else 'KeyboardInterrupt'), answer['content']
        assert time.monotonic() - began < 5 and (tmp_path/'state.safetensors').exists() == kept
        if kept: assert answer['content']['evalue'] == f'The state of the training is kept in {tmp_path}/state.safetensors: the same lines go on from there.'
        said, bars = [], []
        def heard(message):
            said.append(message['content'].get('text', ''))
            if message['msg_type'] == 'error': said.append(str(message['content']))
            if 'Baseline' in (bar := message['content'].get('data', {}).get('text/html', '')): bars.append(bar)
        client.execute_interactive(AFTERWARDS.replace('FOLDER', repr(str(tmp_path/'runs'))), timeout=300, output_hook=heard)
        assert len(bars) > 1 and 'value="50"' in bars[-1] and '50.00% [50/100' in bars[-1] and 'ipywidgets' not in ''.join(said), (bars, said)
        assert 'Baseline, seed 3333, epoch 1 of 2]</div>' in ''.join(bars[:-1]) and '\r' not in ''.join(said), (bars, said)
        assert "NotebookProgress 64 ['input', 'output']" in ''.join(said), said
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)

def test_a_bar_in_a_terminal(home, tmp_path):
    ours, theirs = pty.openpty()
    words = [*QUICK, '--methods', 'baseline', '--weights', 'random', '--out', tmp_path]
    p = subprocess.Popen([sys.executable, '-m', 'aebench.cli', *map(str, words)], env={**os.environ, 'AEBENCH_HOME': str(home), 'TERM': 'xterm', 'COLUMNS': '100'}, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    said = b''
    try:
        while part := os.read(ours, 2**16): said += part
    except OSError: pass  # how the end of a terminal is told on Linux
    assert p.wait(300) == 0 and b'Baseline, seed 3333, epoch 2 of 2' in said and b'100 %' in said and b'\x1b[' in said, said
