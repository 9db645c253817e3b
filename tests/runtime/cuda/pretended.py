"""`pytest -p tests.runtime.cuda.pretended -m gpu`: tests for a GPU without one.

The fake driver is in place before anything looks for a real one, and what it launches is run by
the interpreter of PTX.
"""

import pytest
from tests import gpus
from tests.runtime.cuda.fake import fake_library
from tests.runtime.cuda.interpreted import interpreted

_reason = fake_library()
if isinstance(_reason, str):
    raise pytest.UsageError(_reason)
gpus.DRIVER = True
_patch = pytest.MonkeyPatch()
_device = interpreted(_patch)
next(_device)
