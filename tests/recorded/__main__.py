"""Prints what is kept of a whole OpenAPI document."""

import json
import sys
from pathlib import Path

from tests.recorded import part_of

print(json.dumps(part_of(json.loads(Path(sys.argv[1]).read_text())), indent=1))
