"What somebody sees who watches: in a real terminal, and in a real notebook, whose training is interrupted."
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

import pytest
from jupyter_client.manager import start_new_kernel

from aebench.registry import METHODS
from made_up import fake_out, made_up, original
from test_cli import QUICK

SEVEN = [*list(METHODS)[:6], 'modern']
SETUP = '''
from fastai.callback.core import Callback
from aebench.callback.checkpoint import Checkpoint
from aebench.data import load_images
from aebench.models import autoencoder
from aebench.training import autoencoder_learner
class Tell(Callback):
    def after_batch(self):
        if self.training and self.iter == 2: print('begun', flush=True)
learn = autoencoder_learner(load_images('digits').dls(bs=128, device='cpu', valid_limit=64), \
autoencoder(size=16, latent=8, channels=1), cbs=[Tell()])
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
        asked = client.execute(f"{SETUP}learn.fit_phases((500, 1), next_lr=1e-3"
                               f"{', checkpoint=Checkpoint(%r)' % str(tmp_path/'state.safetensors') if kept else ''})",
                               stop_on_error=False)  # else what is asked at once after the interrupt may be dropped
        while 'begun' not in client.get_iopub_msg(timeout=300)['content'].get('text', ''): pass
        kernel.interrupt_kernel()
        began = time.monotonic()
        while (answer := client.get_shell_msg(timeout=300))['parent_header']['msg_id'] != asked: pass
        assert answer['content'].get('ename') == ('Interrupted' if kept else 'KeyboardInterrupt'), answer['content']
        assert time.monotonic() - began < 5 and (tmp_path/'state.safetensors').exists() == kept
        if kept:
            assert answer['content']['evalue'] == (f'The state of the training is kept in {tmp_path}/state.safetensors: '
                                                   'the same lines go on from there.')
        said, bars = [], []
        def heard(message):
            said.append(message['content'].get('text', ''))
            if message['msg_type'] == 'error': said.append(str(message['content']))
            if 'Baseline' in (bar := message['content'].get('data', {}).get('text/html', '')): bars.append(bar)
        client.execute_interactive(AFTERWARDS.replace('FOLDER', repr(str(tmp_path/'runs'))), timeout=300, output_hook=heard)
        assert (len(bars) > 1 and 'value="50"' in bars[-1] and '50.00% [50/100' in bars[-1]
                and 'ipywidgets' not in ''.join(said)), (bars, said)
        assert ('Baseline, epoch 1/2, loss ' in ''.join(bars[:-1]) and '✓ Baseline  MSE ' in ''.join(said)
                and '\r' not in ''.join(said)), (bars, said)
        assert "NotebookProgress 64 ['input', 'output']" in ''.join(said), said
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)

def screen(said:bytes, width:int, height:int) -> list[str]:
    "The lines that a terminal shows in the end of what was written to it; only rich's own movements are known."
    lines, at = [''], 0
    for part in re.findall(r'\x1b\[[0-9;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+', said.decode()):
        if part == '\n': at, lines = at + 1, lines + ['']*(at + 1 == len(lines))
        elif part.startswith('\x1b['):
            if part.endswith('A'): at = max(0, at - int(part[2:-1] or 1))
            if part == '\x1b[2K': lines[at] = ''
        elif part != '\r': lines[at] += part
    wrapped = [line[i:i+width] for line in lines for i in range(0, max(len(line), 1), width)]
    while wrapped and not wrapped[-1].strip(): wrapped.pop()
    return wrapped[-height+1:]  # the prompt has the last line

def in_terminal(words, home, width:int=80, height:int=24) -> tuple[int, bytes]: # The exit code, and all that was written
    "A command in a terminal of its own, for both of its streams."
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', height, width, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ('COLUMNS', 'LINES', 'NO_COLOR')} | dict(AEBENCH_HOME=str(home), TERM='xterm')
    p = subprocess.Popen([sys.executable, '-m', 'aebench.cli', *map(str, words)], env=env, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b''
    try:
        while part := os.read(ours, 2**16): said += part
    except OSError: pass  # how the end of a terminal is told on Linux
    return p.wait(300), said

def test_a_bar_in_a_terminal(home, tmp_path):
    "Loss and time left while it works; at the end the result, and nothing after it."
    code, said = in_terminal([*QUICK, '--batch-size', 2, '--methods', 'baseline,pca-8', '--weights', 'random', '--out', tmp_path], home)
    lines = screen(said, 80, 24)
    assert code == 0 and re.search(r'Baseline.*epoch 2/2, loss 0\.\d+', said.decode()) and b'left' in said, said
    assert ([o.startswith('✓') for o in lines].count(True) == 2
            and any(re.fullmatch(r'✓ Baseline  MSE 0\.\d+  .*\(2/2\)', o) for o in lines)), lines
    *_, report, folder = ''.join(o if len(o) == 80 else f'{o}\n' for o in lines).strip().split('\n')
    assert (report, folder) == (f'Report: {tmp_path}/report.html', f'Folder: {tmp_path}'), lines

def test_the_last_screen_of_a_training(home, tmp_path):
    "What the bar says after the last epoch; at the end what was saved and what to do with it, and no word is cut."
    code, said = in_terminal(['train', 'digits', '--epochs', 1, '--latent', 16, '--out', tmp_path/'a', '--device', 'cpu'], home)
    lines, text = screen(said, 80, 24), said.decode()
    assert code == 0 and 'measuring…' in text and not any('measuring' in o for o in lines), text
    first = next(i for i, o in enumerate(lines) if o.startswith('Nested Latents + Modern on '))
    assert (lines[first].endswith('16×16 pixels ↔ 16 numbers')
            # on two lines where one has no room
            and re.search(rf'  aebench anomaly NEW-IMAGES \\ +--run {tmp_path}/a', ''.join(lines))), lines
    assert f'{"".join(lines)}'.count('samples.png') == 1 and not any(len(o) == 80 and '/' not in o for o in lines[first:]), lines

def test_the_last_screen_holds_the_whole_result(home, tmp_path):
    "Seven methods with three seeds, a failed one among them: notes, table, verdict and two paths on 80×24."
    rows = [original(accuracy=.98)]
    rows += [made_up(m, 3333 + i, mse=.0049 + i/1000, accuracy=.95 - i/100, equals_pca=14, coded_bytes=14., seconds=95.)
             for m in SEVEN for i in range(3)]
    fake_out(tmp_path, [*rows, dict(method='muon', label='Muon', status='failed', seed=3333, reason='The loss became nan in epoch 1.')])
    code, said = in_terminal(['report', tmp_path], home)
    lines = screen(said, 80, 24)
    found = '\n'.join(lines)
    assert code == 0 and 'Muon (seed 3333) failed' in found and f'Report: {tmp_path}'[:79] in found, found
    assert all(any(o.startswith(METHODS[m].label) and ' ±' in o for o in lines) for m in SEVEN), found
    assert (any(o.startswith('Method') and o.split() == ['Method', 'MSE', 'Recognised', 'components', 'time'] for o in lines)
            and ' compared on ' in found), found
