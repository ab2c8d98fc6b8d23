"""Commands and notebooks in processes forked from one that has imported torch, fastai and the rest, which saves each some seconds.

Run as a script, this is that process: it reads jobs as lines of JSON and answers each with an exit code.
The package itself is imported by each command anew."""
import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

PACKAGES = ('torch torchvision fastai.learner fastai.callback.schedule pandas scipy.stats sklearn.datasets '
            'matplotlib.pyplot safetensors rich.console torchmetrics').split()
_server = []

def forked(*words, env:dict, cwd=None, seconds:int=600) -> tuple[int, str, str]: # Exit code, stdout and stderr
    "Run the command `words` in a process of its own, for `seconds` at most."
    if sys.platform != 'linux':  # a fork after so many imports is not safe elsewhere
        done = subprocess.run([Path(sys.executable).with_name(words[0]), *map(str, words[1:])], env=env, cwd=cwd,
                              capture_output=True, text=True, timeout=seconds)
        return done.returncode, done.stdout, done.stderr
    if not _server: _server.append(subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    server, = _server
    with tempfile.TemporaryDirectory() as d:
        files = [Path(d)/o for o in ('out', 'err')]
        server.stdin.write(json.dumps(dict(words=[str(o) for o in words], env=dict(env), cwd=str(cwd or Path.cwd()), seconds=seconds,
                                           files=[str(o) for o in files])) + '\n')
        server.stdin.flush()
        return int(server.stdout.readline()), *(o.read_text(encoding='utf-8', errors='surrogateescape') for o in files)

def work(words, env, cwd, seconds, files) -> int:
    "What the child does."
    import torch
    signal.alarm(seconds)
    for fd, path in enumerate([os.devnull, *files]): os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), fd)
    os.environ.clear(), os.environ.update(env)
    os.chdir(cwd)
    torch.set_num_threads(int(env.get('OMP_NUM_THREADS', THREADS)))  # a fork has one otherwise, once the package is there
    sys.argv = words
    if words[0] == 'nbdev-test':
        from nbdev.test import nbdev_test
        return nbdev_test.__wrapped__(words[1], n_workers=0)  # as a script it would look for its words where it is called from
    from aebench.cli import main
    return main()

def child(job:dict):
    "Ends this process as Python would, but for waiting for its threads."
    code = 1
    try: code = work(**job)
    except SystemExit as e: code = e.code
    except BaseException: traceback.print_exc()
    try: atexit._run_exitfuncs(), sys.stdout.flush(), sys.stderr.flush()
    finally: os._exit(code if isinstance(code, int) else int(code is not None))

if __name__ == '__main__':
    for o in PACKAGES: importlib.import_module(o)
    THREADS = sys.modules['torch'].get_num_threads()
    sys.path[0] = os.path.dirname(sys.executable)
    for line in sys.stdin:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # newer Pythons warn of forks beside threads, which OpenBLAS has
            pid = os.fork()
        if not pid: child(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
