"`aebench` as one of several processes of which one meets trouble: python -m torch.distributed.run … tests/harmed_team.py WHERE WORDS…"
import errno
import os
import sys

import aebench.bench.run
from aebench.cli import main
from aebench.core.errors import AebenchError
from aebench.core.files import disk_error
from aebench.training import History

def failing(f, e:Exception):
    "`f`, its first call failing."
    errors = [e]
    def first(*args, **kwargs):
        if errors: raise errors.pop()
        return f(*args, **kwargs)
    return first

where = sys.argv.pop(1)
full = disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), aebench.bench.run.Path('/full/run.json'))
leads = os.environ['RANK'] == '0'
if where == 'leader' and leads: aebench.bench.run.write_json = failing(aebench.bench.run.write_json, full)
if where == 'follower' and not leads:
    aebench.bench.run.make_model = failing(aebench.bench.run.make_model, AebenchError('Weights could not be downloaded.'))
if where == 'middle' and leads: History.after_batch = failing(lambda self: None, full)
sys.exit(main(sys.argv[1:]))
