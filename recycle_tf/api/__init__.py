"""The Python API: what commands, notebooks and programs call.

`recycle_tf` offers these names itself: `import recycle_tf as rt`, then `rt.open_dataset("photos")`.
"""

from recycle_tf.api.averaging import average
from recycle_tf.api.data import audit, open_dataset, shard
from recycle_tf.api.run import compare, load, open_run, train

__all__ = ["audit", "average", "compare", "load", "open_dataset", "open_run", "shard", "train"]
