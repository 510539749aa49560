"""The process that `tflm.py` runs a file in: TensorFlow Lite Micro's interpreter, once, then its own account of the arena.

    python tflm_child.py model.tflite ARENA_BYTES

The interpreter prints the account and its complaints to stderr, and may abort. A file that it takes runs once, on zeros.
"""

import sys
from pathlib import Path


def main(path: str, arena_bytes: str) -> None:
    """Run the file once and let the interpreter print what it took."""
    import numpy as np  # noqa: PLC0415  # in the child alone
    from tflite_micro.python.tflite_micro import runtime  # noqa: PLC0415  # an extra; in the child alone

    content = Path(path).read_bytes()
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=int(arena_bytes))
    for index in range(len(runtime.convert_bytearray_to_object(content).subgraphs[0].inputs)):
        details = interpreter.get_input_details(index)
        interpreter.set_input(np.zeros(details["shape"], details["dtype"]), index)
    interpreter.invoke()
    interpreter.print_allocations()


if __name__ == "__main__":
    main(*sys.argv[1:])
