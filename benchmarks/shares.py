"Where the time of a training step goes: a clock at both ends of every event of fastai's training loop."
from fastai.callback.core import Callback
from fastai.learner import Learner

from contestants import Stop, now

PARTS = ('loading', 'augmentation', 'forward', 'loss', 'backward', 'optimiser', 'framework')
EVENTS = ('before_batch', 'after_pred', 'after_loss', 'before_backward', 'after_backward', 'before_step', 'after_step', 'after_batch')

class _Clock(Callback):
    "Notes the time of each event into `marks`: as the first callback, or as the last."
    def __init__(self, marks:dict, order:int):
        self.marks, self.order = marks, order
        for event in EVENTS:
            setattr(self, event, lambda event=event: self.marks.setdefault((event, order), []).append(now(self.dls.device)))

class _TimedAugment:
    "An augmentation that notes how long it took."
    def __init__(self, augment): self.augment, self.seconds = augment, []
    def __call__(self, *args):
        start = now(args[0].device)
        x = self.augment(*args)
        self.seconds.append(now(x.device) - start)
        return x

# In percent, which add up to 100: a dict a turn, the turn with the shortest steps first
def step_shares(learn:Learner, turns:int, n:int=8) -> list[dict[str, float]]:
    "What share of a step each of `PARTS` takes, over the middle half of `n` steps a turn: an interrupted step would shift them."
    found = []
    for _ in range(turns + 1):
        marks, augment = {}, _TimedAugment(learn.dls.train.augment)
        learn.dls.train.augment = augment
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3, cbs=[_Clock(marks, -900), _Clock(marks, 900), Stop(n + 1)])
        learn.dls.train.augment = augment.augment
        first, last = ({event: marks[event, order] for event in EVENTS} for order in (-900, 900))
        steps = []
        for i in range(1, n + 1):  # from the end of the batch before; the first has none
            between = lambda a, b: first[b][i] - last[a][i]
            parts = dict(augmentation=augment.seconds[i], forward=between('before_batch', 'after_pred'),
                         loss=between('after_pred', 'after_loss'), backward=between('before_backward', 'after_backward'),
                         optimiser=between('before_step', 'after_step'))
            parts['loading'] = first['before_batch'][i] - last['after_batch'][i-1] - parts['augmentation']
            whole = last['after_batch'][i] - last['after_batch'][i-1]
            steps.append(parts | dict(framework=whole - sum(parts.values())))
        steps = sorted(steps, key=lambda o: sum(o.values()))[n//4:-(n//4)]
        seconds = {part: sum(o[part] for o in steps) for part in PARTS}
        whole = sum(seconds.values())
        found.append((whole, {part: 100*o/whole for part, o in seconds.items()}))
    return [shares for _, shares in sorted(found[1:], key=lambda o: o[0])]  # the first turn warms up
