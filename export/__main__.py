"""Exports a run and verifies each file on the test split: `python -m export --run=RUN`.

    python -m export --run=runs/mine --formats=tflite_int8,saved_model

Every exported file takes uint8 RGB pixels and returns probabilities. It is run on the test split and compared
with the Keras model. A file that differs too much is moved to RUN/export/rejected, and the command exits with
status 2. RUN/export is replaced as a whole at the end; a failed or interrupted export changes nothing.

    python -m export serve --run=runs/mine      # serves the web page that --formats=web has written
    python -m export benchmark resnet18 vgg16   # what architectures cost, with random weights
"""

import sys

from absl import flags

from recycle_tf import cli
from recycle_tf.errors import UserError

from . import benchmark, serve
from .settings import ExportSettings


@cli.command
def main(argv):
    """Exports a run, serves its web page, or measures architectures."""
    if argv[:1] == ["serve"]:
        serve.serve(argv[1:])
        return
    if argv[:1] == ["benchmark"]:
        return benchmark.main(argv[1:])
    settings = parse(argv)
    try:
        cli.import_tensorflow()
        from . import exporting

        exporting.export(settings)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{error.filename or settings.run}: cannot be written or read ({reason}); no file was changed; "
            "correct that and rerun the command"
        ) from error


def parse(argv):
    """The `ExportSettings` of a command line.

    Raises:
        UserError: an unknown flag or an invalid value.
    """
    values = flags.FlagValues()
    cli.define_flags(ExportSettings, values)
    flags.DEFINE_string("labels_ko", None, "Renamed: use --translations=ko:FILE.", flag_values=values)
    cli.no_positionals(cli.parse(argv, values, __doc__))
    given = cli.given(ExportSettings, values)
    if values.labels_ko is not None:
        print(
            "--labels_ko: renamed, use --translations=ko:FILE; the old name works until version 0.2",
            file=sys.stderr,
        )
        pairs = [given.get("translations"), f"ko:{values.labels_ko}"]
        given["translations"] = ",".join(filter(None, pairs))
    return ExportSettings(**given)


if __name__ == "__main__":
    sys.exit(main())
