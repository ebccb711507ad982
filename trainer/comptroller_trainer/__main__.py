"""`python -m comptroller_trainer`: the container's first process."""

import sys

from comptroller_trainer.main import main

sys.exit(main())
