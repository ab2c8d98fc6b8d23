"Where the time of a training step goes: a clock at both ends of every event of fastai's training loop."
from statistics import median

from fastai.callback.core import Callback
from fastai.learner import Learner

from contestants import Stop, now

PARTS = ('loading', 'augmentation', 'forward', 'loss', 'backward', 'optimiser', 'framework')
EVENTS = ('before_batch', 'after_pred', 'after_loss', 'before_backward', 'after_backward', 'before_step', 'after_step', 'after_batch')

class _Clock(Callback):
    "Notes the time of each event into `marks`: as the first callback, or as the last."
    def __init__(self, marks:dict, order:int):
        self.marks, self.order = marks, order
        for event in EVENTS: setattr(self, event, lambda event=event: self.marks.setdefault((event, order), []).append(now(self.dls.device)))

class _TimedAugment:
    "An augmentation that notes how long it took."
    def __init__(self, augment): self.augment, self.seconds = augment, []
    def __call__(self, *args):
        start = now(args[0].device)
        x = self.augment(*args)
        self.seconds.append(now(x.device) - start)
        return x

def step_shares(learn:Learner, turns:int, n:int=8) -> dict[str, list[float]]: # Percent, a value a turn
    "What share of a step each of `PARTS` takes, over `n` steps a turn."
    found = {part: [] for part in PARTS}
    for _ in range(turns + 1):
        marks, augment = {}, _TimedAugment(learn.dls.train.augment)
        learn.dls.train.augment = augment
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3, cbs=[_Clock(marks, -900), _Clock(marks, 900), Stop(n)])
        learn.dls.train.augment = augment.augment
        first, last = ({event: marks[event, order] for event in EVENTS} for order in (-900, 900))
        def between(a, b): return [t1 - t0 for t0, t1 in zip(a[:n], b[:n])]
        step = between(last['after_batch'], last['after_batch'][1:])
        fetched = between(last['after_batch'], first['before_batch'][1:])
        seconds = dict(augmentation=augment.seconds[1:n], forward=between(last['before_batch'], first['after_pred']), loss=between(last['after_pred'], first['after_loss']),
                       backward=between(last['before_backward'], first['after_backward']), optimiser=between(last['before_step'], first['after_step']))
        seconds['loading'] = [a - b for a, b in zip(fetched, augment.seconds[1:n])]
        whole = median(step)
        shares = {part: 100*median(values)/whole for part, values in seconds.items()}
        for part in PARTS: found[part].append(shares[part] if part in shares else max(0., 100 - sum(shares.values())))
    return {part: values[1:] for part, values in found.items()}  # the first turn warms up
