"""Check that a device computes LSTM, GRU and RNN as their formulas say.

python scripts/device.py --device cuda:0
"""

from seqmodels.__main__ import run

if __name__ == "__main__":
    run("device")
