"""Write heart-disease.csv: synthetic patients, the same file byte for byte every time.

    python make_heart_disease.py [OUTPUT]

No real person is in it. The measurements depend on age and sex roughly as in the textbooks, the disease is drawn from a
logistic risk of them, and some measurements are missing. Standard library only, so that no version of NumPy matters.
"""

from __future__ import annotations

import csv
import math
import random
import sys
from pathlib import Path
from typing import Any

SEED = 2024
PATIENTS = 1000
MISSING = {"resting_bp": 0.02, "cholesterol": 0.06, "max_heart_rate": 0.02, "st_depression": 0.03}
CHEST_PAIN = ("typical", "atypical", "non-anginal", "asymptomatic")


def within(low: float, value: float, high: float) -> float:
    """The value, moved into the range if it is outside."""
    return min(max(value, low), high)


def log_odds(p: dict[str, Any]) -> float:
    """How likely this patient is to have the disease, on the logistic scale."""
    pain = {"typical": -0.3, "atypical": -0.7, "non-anginal": -0.4, "asymptomatic": 1.2}[p["chest_pain"]]
    return (
        -1.45
        + 0.045 * (p["age"] - 54)
        + 0.9 * (p["sex"] == "male")
        + pain
        + 0.016 * (p["resting_bp"] - 131)
        + 0.007 * (p["cholesterol"] - 235)
        + 0.5 * (p["fasting_sugar"] > 120)
        - 0.020 * (p["max_heart_rate"] - 150)
        + 0.9 * (p["exercise_angina"] == "yes")
        + 0.65 * (p["st_depression"] - 0.9)
    )


def patient(rng: random.Random) -> dict[str, Any]:
    """One patient, complete and with the diagnosis."""
    age = round(within(29, rng.gauss(54, 9.5), 79))
    sex = "male" if rng.random() < 0.62 else "female"
    weights = (8, 20, 28, 34 + 0.4 * (age - 54))
    chest_pain = rng.choices(CHEST_PAIN, weights)[0]
    resting_bp = round(within(92, rng.gauss(131 + 0.5 * (age - 54), 16), 200))
    cholesterol = round(within(120, rng.gauss(235 + 0.9 * (age - 54) + 9 * (sex == "female"), 45), 480))
    fasting_sugar = round(within(66, 70 + rng.gammavariate(4.0, 7.5) + 0.35 * (age - 54), 260))
    max_heart_rate = round(within(75, rng.gauss(150 - 0.9 * (age - 54), 19), 205))
    strained = 0.30 + 0.25 * (chest_pain == "asymptomatic") - 0.004 * (max_heart_rate - 150)
    exercise_angina = "yes" if rng.random() < strained else "no"
    st_depression = 0.0
    if rng.random() > 0.28:
        st_depression = round(within(0.0, rng.gauss(1.1 + 0.5 * (exercise_angina == "yes"), 0.9), 6.2), 1)
    row: dict[str, Any] = {
        "age": age,
        "sex": sex,
        "chest_pain": chest_pain,
        "resting_bp": resting_bp,
        "cholesterol": cholesterol,
        "fasting_sugar": fasting_sugar,
        "max_heart_rate": max_heart_rate,
        "exercise_angina": exercise_angina,
        "st_depression": st_depression,
    }
    risk = 1 / (1 + math.exp(-1.2 * log_odds(row)))
    row["disease"] = int(rng.random() < risk)
    return row


def main(output: Path) -> None:
    """Draw the patients, lose some measurements, write the file."""
    rng = random.Random(SEED)
    rows = [patient(rng) for _ in range(PATIENTS)]
    for row in rows:
        for column, share in MISSING.items():
            if rng.random() < share:
                row[column] = ""
    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("heart-disease.csv"))
