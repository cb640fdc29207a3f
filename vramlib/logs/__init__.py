"""A start-up log, an out-of-memory message or an nvidia-smi table, explained beside the estimate.

``source`` reads lines, the ``rules_*`` know what each engine prints, ``collect`` gathers facts, ``measured`` gives
them the names of ``Budget``, ``known`` reads the
settings, ``compare`` puts the estimate beside them, ``failures`` and ``remedies`` say what was
missing, ``advice`` what would bring more.
"""

from vramlib.logs.explanation import Explanation, explain, explain_file

__all__ = ["Explanation", "explain", "explain_file"]
