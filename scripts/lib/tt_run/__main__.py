import sys

from tt_run import cli

sys.exit(cli.main())
