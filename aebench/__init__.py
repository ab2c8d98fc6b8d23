__version__ = "0.1.0"

def __getattr__(name):
    "`aebench.load`, fetched when it is asked for: it brings torch."
    if name != 'load': raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from aebench.apply.trained import load
    return load
