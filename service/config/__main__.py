"""``python -m service.config`` prints ``config.toml`` as it is shipped."""

import sys

from service.config.reference import render_reference

if __name__ == "__main__":
    sys.stdout.write(render_reference())
