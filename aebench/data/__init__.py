"Images, from a path to batches: `from aebench.data import load_images`."

def __getattr__(name):
    "What users of the package want first, fetched when it is asked for: it brings torch."
    if name not in ('load_images', 'ImageSet'): raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from . import sets
    return getattr(sets, name)
