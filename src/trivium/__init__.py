"""trivium: an expectation, a kernel, a moment.

Names load lazily: `import trivium` imports neither torch nor scikit-learn.
"""

__version__ = "0.1.0.dev0"
