"""`python scripts/export --checkpoint … --out …`: see `sam3_export/cli.py`."""

import sys

from sam3_export.cli import main

sys.exit(main())
