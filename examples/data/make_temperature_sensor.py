"""Write temperature-sensor.csv: 30 days of a synthetic room sensor, the same file byte for byte every time.

    python make_temperature_sensor.py [OUTPUT]

A daily cycle, slow weather and noise; and what goes wrong with real sensors: drift, spikes, a stuck reading, blank
readings, and a stretch in which nothing was logged. Standard library only, so that no version of NumPy matters.
"""

from __future__ import annotations

import csv
import math
import random
import sys
from datetime import datetime, timedelta
from pathlib import Path

SEED = 2024
START = datetime(2024, 3, 1)
EVERY = timedelta(minutes=10)
A_DAY = 144
READINGS = 30 * A_DAY

DRIFT = (21 * A_DAY, 0.20)  # from the 22nd day on, degrees a day
SPIKES = 14
STUCK = range(11 * A_DAY + 78, 11 * A_DAY + 78 + 40)  # from 13:00 on the 12th day, for 6 h 40 min
BLANK = 0.008
OFFLINE = range(17 * A_DAY + 20, 17 * A_DAY + 20 + 15)  # two and a half hours on the 18th day


def main(output: Path) -> None:
    """Draw the true temperature, spoil it, write the file."""
    rng = random.Random(SEED)
    drift_from, drift_a_day = DRIFT
    weather, values = 0.0, []
    for i in range(READINGS):
        weather = 0.998 * weather + rng.gauss(0, 0.05)
        cycle = 3.0 * math.sin(2 * math.pi * (i % A_DAY / A_DAY - 0.375))  # coldest at 3, warmest at 15 o'clock
        drift = max(0, i - drift_from) / A_DAY * drift_a_day
        values.append(20 + cycle + weather + drift + rng.gauss(0, 0.12))

    quiet = [i for i in range(READINGS) if i not in STUCK and i not in OFFLINE]
    for i in rng.sample(quiet, SPIKES):
        values[i] += rng.choice((-1, 1)) * rng.uniform(4, 9)
    for i in STUCK:
        values[i] = values[STUCK.start]
    blank = {i for i in range(READINGS) if rng.random() < BLANK}

    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("time", "temperature"))
        for i, value in enumerate(values):
            if i not in OFFLINE:
                writer.writerow(((START + i * EVERY).isoformat(" "), "" if i in blank else f"{value:.2f}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("temperature-sensor.csv"))
