"""Count what each network asks of each target's core, and write counts.json: the raw results behind the profiles' [calibration].

    edgepress devices --setup qemu
    python tests/evidence/calibration/count_networks.py FOLDER [TARGET...]

FOLDER is what build_networks.py filled. A figure is that of one process: counts of two differ by less than 0.01 %.
`edgepress devices --calibration TARGET` fits the latency model to them anew.
"""

import json
import sys
from pathlib import Path

from devices import Request, open_device
from devices.qemu import Qemu
from targets import load_target

RESULTS = Path(__file__).with_name("counts.json")
TARGETS = ("raspberry-pi-4", "raspberry-pi-3b-plus")


def main(folder: Path, names: list[str]) -> None:
    for name in names or TARGETS:
        device = open_device("qemu", load_target(name))
        assert isinstance(device, Qemu)
        for model in sorted(folder.glob("*.tflite")):
            network, precision, _ = model.name.rsplit(".", 2)
            results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
            if f"{network} {precision}" in results.get(name, {}):
                continue
            [measured] = device.measure([model], Request(processes=1))
            counts = {each.quantity: round(each.value, 3) for each in measured if each.label == "emulated"}
            facts = {"machine": device.machine, "runtime": " ".join(device.runtime(model)), **counts}
            results.setdefault(name, {})[f"{network} {precision}"] = facts
            RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(name, network, precision, round(counts["instructions"]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
