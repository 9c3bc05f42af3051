"""What every experiment on a claim shares: flags, finished parts that are kept, table and figure."""

import argparse
import json
import pathlib


def parser(doc):
    """The flags of every experiment: `--quick`, `--out` and `--seed`.

    Args:
        doc: docstring of the program.
    """
    found = argparse.ArgumentParser(
        description=doc.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    found.add_argument("--quick", action="store_true", help="the small form, for two cores")
    found.add_argument("--out", default="claims", type=pathlib.Path, help="folder of the results")
    found.add_argument("--seed", type=int, default=0, help="the first seed")
    return found


def parse(flags):
    """Values of the flags; makes the folder of the results."""
    values = flags.parse_args()
    values.out.mkdir(parents=True, exist_ok=True)
    return values


class Rows:
    """Results that were computed once, in a file with one JSON object per line.

    A second call of an experiment computes what is missing.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self._found = {json.dumps(row["key"]): row["result"] for row in map(json.loads, lines)}

    def once(self, key, compute):
        """The result of `compute()`, from the file if it is there.

        Args:
            key: what identifies the result: a list of numbers and texts.
            compute: returns something for JSON.
        """
        name = json.dumps(key)
        if name not in self._found:
            self._found[name] = compute()
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "result": self._found[name]}) + "\n")
        return self._found[name]


def table(titles, rows):
    """Prints a table in Markdown."""
    print(f"| {' | '.join(titles)} |")
    print("| --- " * len(titles) + "|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def save(draw, path, rows=1, columns=1, size=(7, 4.2)):
    """Writes a PNG.

    Args:
        draw: called with the axes, one or an array as of `plt.subplots`.
        path: of the PNG.
        rows: of axes.
        columns: of axes.
        size: in inches.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained")
    draw(axes)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"figure {path}")
