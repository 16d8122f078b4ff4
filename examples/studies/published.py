"""Accuracies, %, of 21 classifiers on the two sets of the UEA archive that are among the 22.

Source: https://github.com/yoom618/MambaSL (ICLR 2026), at 7eba90c, in
`scripts_classification/07-analysis_results/all-results.csv`. The epochs and the settings of its
networks were chosen by the test split.
"""

SETS = ("BasicMotions", "JapaneseVowels")
ACCURACIES = {
    "DTW_D": (97.5, 95.95),
    "ROCKET": (100, 83.78),
    "HC2": (100, 98.38),
    "Hydra": (100, 97.84),
    "MR+Hydra": (100, 98.38),
    "DLinear": (87.5, 96.49),
    "LightTS": (100, 96.76),
    "MTS-Mixer": (100, 95.95),
    "TimesNet": (100, 98.65),
    "ModernTCN": (100, 98.65),
    "TSLANet": (100, 98.92),
    "TimeMixer++": (100, 99.19),
    "FEDformer": (95, 97.57),
    "ETSformer": (100, 98.38),
    "Crossformer": (100, 98.38),
    "PatchTST": (85, 97.03),
    "GPT4TS": (100, 98.11),
    "iTransformer": (97.5, 98.11),
    "InterpGN": (100, 99.73),
    "TSCMamba": (100, 98.38),
    "MambaSL": (100, 98.65),
}
